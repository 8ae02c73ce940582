// Package house holds the rules of the house (design.md, "The house") as tests: who may import whom, what is called by one package alone, and
// what the documents must list. Each rule says why it is there. It has no code of its own.
package house
