package main

import (
	"errors"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// measure is one table of the benchmark.
type measure struct {
	name, title string
	kind        kind
	setup       setup
	whole       bool // a round is not cut into slices
	takes       func(*candidate) bool
	run         func(w *world, d time.Duration) (sample, error)
}

func delivers(c *candidate) bool { return !c.floor }
func all(*candidate) bool        { return true }
func loops(c *candidate) bool    { return c.loop }

// measures are all of them, those of one set-up together.
func measures() (list []measure) {
	one, vnet, two, many := setup{guests: 1, tcp: true}, setup{guests: 1, tcp: true, vnet: true}, setup{guests: 2}, setup{guests: 50}
	for _, size := range []int{64, 1514} {
		list = append(list, outMeasure(one, size))
	}
	for _, size := range []int{64, 1514} {
		list = append(list, inMeasure(one, size))
	}
	list = append(list,
		measure{
			name: "rtt-sleep", title: "Round trip, 64 bytes, a device model that sleeps for the answer", kind: trip, setup: one, takes: delivers,
			run: func(w *world, d time.Duration) (sample, error) { return roundTrips(w, d, false) },
		},
		measure{
			name: "rtt-poll", title: "Round trip, 64 bytes, a device model that polls for the answer", kind: trip, setup: one, takes: delivers,
			run: func(w *world, d time.Duration) (sample, error) { return roundTrips(w, d, true) },
		},
		measure{name: "loop", title: "What the packet loop costs besides", kind: loopCost, setup: one, whole: true, takes: loops, run: loopCosts},
		tcpMeasure("tcp-out", "TCP, guest to wire, frames of the MTU", one, false),
		tcpMeasure("tcp-in", "TCP, wire to guest, frames of the MTU", one, true),
		measure{
			name: "gso-out", title: "Guest to wire, frames of 60 kB written with vnet_hdr", kind: super, setup: vnet, takes: all,
			run: func(w *world, d time.Duration) (sample, error) {
				return flood(w, d, func(g *guest) []byte { return superFrame(g.mac, w.wireMAC) })
			},
		},
		tcpMeasure("tcp-vnet-out", "TCP, guest to wire, vnet_hdr and offloads", vnet, false),
		tcpMeasure("tcp-vnet-in", "TCP, wire to guest, vnet_hdr and offloads", vnet, true),
		outMeasure(two, 64), inMeasure(two, 64), outMeasure(many, 64), inMeasure(many, 64),
	)
	return list
}

func tcpMeasure(name, title string, s setup, inbound bool) measure {
	return measure{
		name: name, title: title, kind: stream, setup: s, whole: true, takes: delivers,
		run: func(w *world, d time.Duration) (sample, error) { return tcp(w, d, inbound) },
	}
}

func outMeasure(s setup, size int) measure {
	return measure{
		name: "out-" + describe(s, size), title: "Guest to wire" + words(s, size), kind: outward, setup: s, takes: all,
		run: func(w *world, d time.Duration) (sample, error) {
			return flood(w, d, func(g *guest) []byte { return w.outFrame(g, dropPort, size) })
		},
	}
}

func inMeasure(s setup, size int) measure {
	return measure{
		name: "in-" + describe(s, size), title: "Wire to guest" + words(s, size), kind: inward, setup: s, takes: all,
		run: func(w *world, d time.Duration) (sample, error) { return receive(w, d, size) },
	}
}

// meter reads what the CPUs do for others than the workers, from its making to its stop.
type meter struct {
	loops, softirq             []int
	loopsBefore, softirqBefore time.Duration
	begin                      time.Time
}

var softirqPIDs = softirqd()

func newMeter(w *world) *meter {
	m := &meter{loops: w.forwarders(), softirq: softirqPIDs}
	m.loopsBefore, m.softirqBefore, m.begin = cpuOf(m.loops), cpuOf(m.softirq), time.Now()
	return m
}

func (m *meter) stop(s *sample) {
	s.forwarder, s.softirq = cpuOf(m.loops)-m.loopsBefore, cpuOf(m.softirq)-m.softirqBefore
}

// every is how many frames go between two looks at the clock.
const every = 64

// flood has the guests send as fast as they can: one of them on the first CPU, several in turns on both.
func flood(w *world, d time.Duration, make func(*guest) []byte) (s sample, err error) {
	two, err := theCPUs()
	if err != nil {
		return s, err
	}
	before, err := w.count()
	if err != nil {
		return s, err
	}
	m := newMeter(w)
	var workers []*worker
	sent := [2]uint64{}
	for i := range min(len(w.guests), 2) {
		var guests []*guest
		for j := i; j < len(w.guests); j += 2 {
			guests = append(guests, w.guests[j])
		}
		frames := framesOf(guests, make)
		workers = append(workers, start(two[i], func() (err error) { sent[i], err = floodFrom(guests, frames, m.begin.Add(d)); return err }))
	}
	for _, k := range workers {
		err = errors.Join(err, k.wait())
		s.device += k.cpu
	}
	if err != nil {
		return s, err
	}
	s.sent = sent[0] + sent[1]
	s.wall = time.Since(m.begin)
	err = w.settle(&s, m, before)
	if w.candidate.floor {
		s.bytes = s.got * uint64(len(make(w.guests[0]))-w.header())
	}
	return s, err
}

func framesOf(guests []*guest, make func(*guest) []byte) (out [][]byte) {
	for _, g := range guests {
		out = append(out, make(g))
	}
	return out
}

func floodFrom(guests []*guest, frames [][]byte, until time.Time) (sent uint64, err error) {
	for i := 0; ; {
		for range every {
			if err := guests[i].device.send(frames[i]); err != nil {
				return sent, err
			}
			sent++
			if i++; i == len(guests) {
				i = 0
			}
		}
		if time.Now().After(until) {
			break
		}
	}
	for _, g := range guests {
		if err := g.device.flush(); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// counts are the counters of one moment.
type counts struct {
	wire           tally
	dropped, floor uint64
}

func (w *world) count() (c counts, err error) {
	if c.wire, err = w.wire.read(); err != nil {
		return c, err
	}
	if c.dropped, err = w.drops(); err != nil {
		return c, err
	}
	if w.candidate.floor {
		names := []string{uplinkName}
		for _, g := range w.guests {
			names = append(names, g.port)
		}
		c.floor, err = w.received(names...)
	}
	return c, err
}

// stalled is how long no further frame may arrive before those that are missing are taken to be lost: another process may have the forwarder's CPU.
const stalled = 500 * time.Millisecond

// settle waits until every frame is accounted for, and stops the meter then.
func (w *world) settle(s *sample, m *meter, before counts) error {
	for begin := time.Now(); ; {
		wall := time.Since(m.begin)
		now, err := w.count()
		if err != nil {
			return err
		}
		got := tally{now.wire.Frames - before.wire.Frames, now.wire.Bytes - before.wire.Bytes}
		if w.candidate.floor {
			got = tally{Frames: now.floor - before.floor}
		}
		if got.Frames > s.got {
			s.got, s.bytes = got.Frames, got.Bytes
			begin = time.Now()
			if len(m.loops) > 0 { // only there is a frame under way when send returns
				s.wall = wall
			}
		}
		s.known = now.dropped - before.dropped
		if s.lost() <= 0 || time.Since(begin) > stalled {
			m.stop(s)
			return nil
		}
		if err := sleep(1); err != nil {
			return err
		}
	}
}

// receive has the far side send as fast as it can from the first CPU, and every guest receive on the second.
func receive(w *world, d time.Duration, size int) (s sample, err error) {
	two, err := theCPUs()
	if err != nil {
		return s, err
	}
	flow, err := w.fromWire(size)
	if err != nil {
		return s, err
	}
	defer flow.close() //nolint:errcheck // all was sent
	for _, g := range w.guests {
		if err := g.drain(); err != nil {
			return s, err
		}
	}
	before, err := w.count()
	if err != nil {
		return s, err
	}
	var ended atomic.Bool
	got := make([]tally, len(w.guests))
	m := newMeter(w)
	var readers []*worker
	for i, g := range w.guests {
		readers = append(readers, start(two[1], func() error { return readAll(g, w.header(), &ended, &got[i]) }))
	}
	source := start(two[0], func() (err error) { s.sent, err = sendAll(flow, m.begin.Add(d)); return err })
	err = source.wait()
	s.wall, s.sender = time.Since(m.begin), source.cpu
	ended.Store(true)
	for i, r := range readers {
		err = errors.Join(err, r.wait())
		s.device += r.cpu
		s.got += got[i].Frames
		s.bytes += got[i].Bytes
	}
	m.stop(&s)
	if err != nil {
		return s, err
	}
	now, err := w.count()
	s.known = now.dropped - before.dropped
	if w.candidate.floor {
		s.known = now.floor - before.floor
	}
	return s, err
}

// fromWire makes what sends to every guest.
func (w *world) fromWire(size int) (flow *sender, err error) {
	var frames [][]byte
	for _, g := range w.guests {
		frames = append(frames, frame(w.wireMAC, g.mac, dropPort, size))
	}
	err = w.far.Do(func() (err error) { flow, err = newSender(w.wireEnd, frames); return err })
	return flow, err
}

func sendAll(flow *sender, until time.Time) (sent uint64, err error) {
	for time.Now().Before(until) {
		n, err := flow.send(sendBatch)
		if err != nil {
			return sent, err
		}
		sent += uint64(n)
	}
	return sent, nil
}

// readAll receives until nothing more comes after the end.
func readAll(g *guest, skip int, ended *atomic.Bool, got *tally) error {
	each := func(f []byte) {
		if port(f[min(skip, len(f)):]) == dropPort {
			got.Frames++
			got.Bytes += uint64(len(f) - skip)
		}
	}
	for {
		over := ended.Load()
		n, err := g.device.receive(each)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		fds := []unix.PollFd{pollIn(g.device.fd())}
		if err := sleep(20, fds...); err != nil {
			return err
		}
		if over && fds[0].Revents == 0 {
			return nil
		}
	}
}

// roundTrips sends a frame, waits for it to come back, and sends the next.
func roundTrips(w *world, d time.Duration, polls bool) (s sample, err error) {
	two, err := theCPUs()
	if err != nil {
		return s, err
	}
	g := w.guests[0]
	if err := g.drain(); err != nil {
		return s, err
	}
	out := w.outFrame(g, echoPort, 64)
	undo, err := w.loopsOn(two[:]...)
	if err != nil {
		return s, err
	}
	defer undo()
	m := newMeter(w)
	k := start(two[0], func() error {
		for begin := time.Now(); time.Since(begin) < d; {
			took, err := once(g.device, out, w.header(), polls)
			if err != nil {
				return err
			}
			s.sent++
			if took > 0 {
				s.got++
				s.trips = append(s.trips, took)
			}
		}
		return nil
	})
	err = k.wait()
	s.wall, s.device = time.Since(m.begin), k.cpu
	m.stop(&s)
	return s, err
}

// once is one round trip, or 0 where the frame does not come back within the patience that TCP has.
func once(d device, out []byte, skip int, polls bool) (time.Duration, error) {
	back := false
	begin := time.Now()
	if err := errors.Join(d.send(out), d.flush()); err != nil {
		return 0, err
	}
	for {
		n, err := d.receive(func(f []byte) { back = back || port(f[min(skip, len(f)):]) == echoPort })
		took := time.Since(begin)
		switch {
		case err != nil:
			return 0, err
		case back:
			return took, nil
		case took > patience:
			return 0, nil
		case n == 0 && !polls:
			if err := sleep(20, pollIn(d.fd())); err != nil {
				return 0, err
			}
		}
	}
}

// settled is how long after the last frame the loop is taken to be idle: it spins for less.
const settled = 100

// loopCosts loads the loop in both directions, and then leaves it alone.
func loopCosts(w *world, d time.Duration) (s sample, err error) {
	g := w.guests[0]
	before, err := g.loop.report()
	if err != nil {
		return s, err
	}
	if s, err = flood(w, d/2, func(g *guest) []byte { return w.outFrame(g, dropPort, 64) }); err != nil {
		return s, err
	}
	in, err := receive(w, d/2, 64)
	if err != nil {
		return s, err
	}
	s.add(in)
	after, err := g.loop.report()
	if err != nil {
		return s, err
	}
	s.mallocs = after.Mallocs - before.Mallocs
	if err := sleep(settled); err != nil {
		return s, err
	}
	begin, used := time.Now(), processCPU(g.loop.pid)
	if err := sleep(int(d.Milliseconds())); err != nil {
		return s, err
	}
	s.idle, s.idleWall = processCPU(g.loop.pid)-used, time.Since(begin)
	return s, nil
}
