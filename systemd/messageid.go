package systemd

// MessageIDs are the journal's MESSAGE_ID by event, for the events that people alert on: `journalctl MESSAGE_ID=...` finds them whatever the
// text says. They never change; a new event gets a new one.
var MessageIDs = map[string]string{
	"nic.plugged":      "0ada8c6b471c4073b53961d6044a31b5",
	"nic.failed":       "cc56057e521746b8a62e604a22dbbf5b",
	"nic.lost":         "cca21d01e76f439b818df6847e53eceb",
	"nic.back":         "a42a94b9fcb1424db47d3d014108d6f0",
	"domain.crashed":   "369ed01f78d243b3a0b95e542267b581",
	"domain.destroyed": "469062e242924b8ca33ee2b039fcaccb",
	"overrun":          "7ad8e5c4d75c456ea8b2a4fdb8ed70e5",
}
