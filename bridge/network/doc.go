// Package network is the host's networks as an administrator declares them: what they are, the rules that they obey, and the steps from the
// host as it is to the host as it is declared.
//
// What a newcomer must know first: it is pure. It takes values (files' texts, a [bridge.Host]) and gives values (a [Spec], a [Plan]); reading
// the kernel and changing it is bridge's and bridge/host's affair. So everything that it decides can be tested without a kernel, and a plan
// that is only shown cannot write.
package network
