package wire

// Errno is an error as the store names it (xen: xs_wire.h xsd_errors). Names that are not listed here are permanent failures as well.
type Errno string

// The error names of the protocol; EQUOTA is oxenstored's for what C xenstored calls ENOSPC.
const (
	EINVAL    Errno = "EINVAL"
	EACCES    Errno = "EACCES"
	EEXIST    Errno = "EEXIST"
	EISDIR    Errno = "EISDIR"
	ENOENT    Errno = "ENOENT"
	ENOMEM    Errno = "ENOMEM"
	ENOSPC    Errno = "ENOSPC"
	EIO       Errno = "EIO"
	ENOTEMPTY Errno = "ENOTEMPTY"
	ENOSYS    Errno = "ENOSYS"
	EROFS     Errno = "EROFS"
	EBUSY     Errno = "EBUSY"
	EAGAIN    Errno = "EAGAIN"
	EISCONN   Errno = "EISCONN"
	E2BIG     Errno = "E2BIG"
	EPERM     Errno = "EPERM"
	EQUOTA    Errno = "EQUOTA"
)

var errnoTexts = map[Errno]string{
	EINVAL: "invalid argument", EACCES: "permission denied", EEXIST: "exists already", EISDIR: "is a directory", ENOENT: "no such node",
	ENOMEM: "out of memory or quota", ENOSPC: "over quota", EIO: "input/output error", ENOTEMPTY: "not empty", ENOSYS: "not implemented by this xenstored",
	EROFS: "read-only", EBUSY: "busy", EAGAIN: "changed meanwhile, try again", EISCONN: "connected already", E2BIG: "too big", EPERM: "not permitted",
	EQUOTA: "over quota",
}

// Error gives the meaning and the name.
func (e Errno) Error() string {
	if t, ok := errnoTexts[e]; ok {
		return t + " (" + string(e) + ")"
	}
	return "xenstored says " + string(e)
}
