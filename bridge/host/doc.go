// Package host carries plans out on a host, so that at no moment a change is half done for good: its undo list is on disk before it begins,
// it is judged by reading the host back, and who does not confirm it gets the former host back. Afterwards the [Manager] keeps the host as
// declared.
//
// What a newcomer must know first: three files hold everything (see [State files]), and whoever starts next goes on from them, so the process
// may be killed between any two lines. What should be and the steps there are decided by bridge/network; here they are only done.
//
// # State files
//
// applied.json is the declaration that holds. pending.json is there while a change is made or waits for its confirmation: the steps, how to
// undo each, the declarations before and after. progress says how many steps have begun; it is written without fsync, since a machine that
// loses power loses its devices too. lock is held by the one process that changes something now.
package host
