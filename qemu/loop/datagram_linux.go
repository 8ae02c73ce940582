package loop

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A peer with datagrams has each frame in one, without a length. It costs a call a frame both ways, and the kernel keeps 10 for a reader: this is for
// those that know nothing else.

// receiveDatagrams reads those that have come, and puts the length before each, so that they are a stream as any other.
func (l *Loop) receiveDatagrams(conn int) (n int, errno unix.Errno) {
	for space := l.frames.Space(); len(space)-n >= lengthSize+MaxFrame+1; {
		size, errno := recv(conn, space[n+lengthSize:])
		switch {
		case errno != 0 && n > 0:
			return n, 0 // what it is will be told again
		case errno != 0:
			return 0, errno
		case size > MaxFrame:
			l.Counters.ToWire.drop(Long)
			continue
		}
		binary.BigEndian.PutUint32(space[n:], uint32(size))
		n += lengthSize + size
	}
	return n, 0
}

// sendDatagrams sends the frames of b, which are whole, until one is not taken. n is how much of b was.
func sendDatagrams(conn int, b []byte) (n int, errno unix.Errno) {
	for n < len(b) {
		end := n + lengthSize + int(binary.BigEndian.Uint32(b[n:]))
		_, errno := send(conn, b[n+lengthSize:end])
		if errno != 0 && n == 0 {
			return 0, errno
		}
		if errno != 0 {
			break
		}
		n = end
	}
	return n, 0
}
