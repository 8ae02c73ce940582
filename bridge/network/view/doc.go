// Package view shows a host's networks: as its manager's table, as a picture of who stands on whom, and as the devices that the kernel has.
//
// What a newcomer must know first: [New] makes one [Model] of what is declared and what is there, and gives every network its number and every
// device its label. [Model.Manager], [Model.Logical] and [Model.Devices] are selections of it: plain values that survive JSON unchanged, and
// that write themselves as text, JSON, DOT, Mermaid and SVG. So what a daemon sends as JSON a client can draw. The package is pure, and takes
// every text that it is given to be hostile.
package view
