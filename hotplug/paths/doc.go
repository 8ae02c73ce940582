// Package paths has guests' frames take the fastest way that is right for them, and says why it is this one.
//
// Every guest port stands in its bridge, whatever the path: a path is an overlay, and where it ends the bridge carries on. Which path a port takes
// is decided by [Choose], a pure function of what was observed; the [Keeper] observes, and has the kernel do what was decided. It works beside the
// engine: no guest waits for its path, and no path can fail a NIC. Only the guard is different: a port that is to be guarded is not brought up
// before it is.
package paths
