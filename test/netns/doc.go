// Package netns gives a test, the demo and the benchmarks network namespaces of their own.
//
// What a newcomer must know first: a namespace belongs to a thread, not to a process. [New] therefore ties the calling goroutine to its
// thread for good; the goroutines that it starts, subtests too, run on other threads and must [Space.Enter] to be inside. Processes that it
// starts are inside. [Again] instead moves a whole program, by running it again.
package netns
