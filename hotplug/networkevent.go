package hotplug

// The events of declared networks, as bridge/host tells them; Netdev, Network and Detail say which, whose and what.
const (
	NetworkLost     Kind = "network.lost"
	NetworkRepaired Kind = "network.repaired"
	NetworkFailed   Kind = "network.failed"
	ApplyDone       Kind = "apply.done"
	ApplyWaiting    Kind = "apply.waiting"
	ApplyConfirmed  Kind = "apply.confirmed"
	ApplyUndone     Kind = "apply.undone"
	ApplyStuck      Kind = "apply.stuck"
	ApplyDropped    Kind = "apply.dropped"
)
