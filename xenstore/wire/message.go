package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Limits of the protocol, in bytes (xen: xs_wire.h).
const (
	HeaderSize = 16
	PayloadMax = 4096
	AbsPathMax = 3072
	RelPathMax = 2048
)

// Type is a message's type.
type Type uint32

// The message types (xen: xs_wire.h enum xsd_sockmsg_type).
const (
	Control            Type = 0
	Directory          Type = 1
	Read               Type = 2
	GetPerms           Type = 3
	Watch              Type = 4
	Unwatch            Type = 5
	TransactionStart   Type = 6
	TransactionEnd     Type = 7
	Introduce          Type = 8
	Release            Type = 9
	GetDomainPath      Type = 10
	Write              Type = 11
	Mkdir              Type = 12
	Rm                 Type = 13
	SetPerms           Type = 14
	WatchEvent         Type = 15
	Error              Type = 16
	IsDomainIntroduced Type = 17
	Resume             Type = 18
	SetTarget          Type = 19
	ResetWatches       Type = 21
	DirectoryPart      Type = 22
	GetFeature         Type = 23
	SetFeature         Type = 24
	GetQuota           Type = 25
	SetQuota           Type = 26
)

var typeNames = map[Type]string{
	Control: "CONTROL", Directory: "DIRECTORY", Read: "READ", GetPerms: "GET_PERMS", Watch: "WATCH", Unwatch: "UNWATCH",
	TransactionStart: "TRANSACTION_START", TransactionEnd: "TRANSACTION_END", Introduce: "INTRODUCE", Release: "RELEASE",
	GetDomainPath: "GET_DOMAIN_PATH", Write: "WRITE", Mkdir: "MKDIR", Rm: "RM", SetPerms: "SET_PERMS", WatchEvent: "WATCH_EVENT", Error: "ERROR",
	IsDomainIntroduced: "IS_DOMAIN_INTRODUCED", Resume: "RESUME", SetTarget: "SET_TARGET", ResetWatches: "RESET_WATCHES",
	DirectoryPart: "DIRECTORY_PART", GetFeature: "GET_FEATURE", SetFeature: "SET_FEATURE", GetQuota: "GET_QUOTA", SetQuota: "SET_QUOTA",
}

// String is the type's name in the protocol's documentation.
func (t Type) String() string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Header stands before every payload.
type Header struct {
	Type  Type
	ReqID uint32 // chosen by the client, echoed in the reply
	TxID  uint32 // 0 outside of transactions
	Len   uint32 // of the payload, in bytes
}

// ErrShort says that a buffer ends before what it should hold.
var ErrShort = errors.New("message is cut short")

// AppendMessage appends a message whose payload is the given parts in order. It sets Len.
func AppendMessage(b []byte, h Header, payload ...[]byte) []byte {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	b = binary.NativeEndian.AppendUint32(b, uint32(h.Type))
	b = binary.NativeEndian.AppendUint32(b, h.ReqID)
	b = binary.NativeEndian.AppendUint32(b, h.TxID)
	b = binary.NativeEndian.AppendUint32(b, uint32(n))
	for _, p := range payload {
		b = append(b, p...)
	}
	return b
}

// ParseHeader reads the header at the beginning of b. The payload need not be there yet, and its length is not judged.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, ErrShort
	}
	return Header{
		Type: Type(binary.NativeEndian.Uint32(b)), ReqID: binary.NativeEndian.Uint32(b[4:]),
		TxID: binary.NativeEndian.Uint32(b[8:]), Len: binary.NativeEndian.Uint32(b[12:]),
	}, nil
}

// SplitStrings reads a payload of NUL-terminated strings. An empty payload is none; a last string without its NUL is an error.
func SplitStrings(payload []byte) ([]string, error) {
	if len(payload) == 0 {
		return nil, nil
	}
	if payload[len(payload)-1] != 0 {
		return nil, fmt.Errorf("%d bytes of strings without a NUL at their end: %w", len(payload), ErrShort)
	}
	out := make([]string, 0, bytes.Count(payload, []byte{0}))
	for len(payload) > 0 {
		i := bytes.IndexByte(payload, 0)
		out = append(out, string(payload[:i]))
		payload = payload[i+1:]
	}
	return out, nil
}
