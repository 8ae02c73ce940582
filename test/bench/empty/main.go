// Command empty does nothing: the start of a Go process, for `make bench`.
package main

func main() {}
