package netns

import "errors"

// Open makes a namespace for a program that is no test. The caller stays where it is, works inside by [Space.Do], and closes it.
func Open() (s *Space, err error) {
	done := make(chan struct{})
	go runUnshare(&s, &err, done)
	<-done
	return s, err
}

// Close lets the namespace go, once nothing else is in it.
func (s *Space) Close() error { return errors.Join(s.net.Close(), s.mnt.Close()) }
