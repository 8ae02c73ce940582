package xenstore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"vifplug/xenstore"
	"vifplug/xenstore/xenstored"
)

// serve has a store on a machine without Xen. On a Xen host the target is simply "auto".
func serve() (target string, end func()) {
	dir, err := os.MkdirTemp("", "xs")
	if err != nil {
		log.Fatal(err)
	}
	path := filepath.Join(dir, "socket")
	l, err := xenstored.Listen(path)
	if err != nil {
		log.Fatal(err)
	}
	server := xenstored.New(nil)
	served := make(chan error, 1)
	go runServe(func() error { return server.Serve(l) }, served)
	return "unix:" + path, func() {
		_ = server.Close()
		<-served
		_ = os.RemoveAll(dir)
	}
}

func runServe(serve func() error, served chan<- error) { served <- serve() }

func Example() {
	target, end := serve()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	store, err := xenstore.Open(ctx, target, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = store.Close() }()

	// Read, decide and write, all or nothing: the function runs again where another client got in between.
	err = store.Transaction(ctx, func(tx *xenstore.Tx) error {
		s, err := tx.Read(ctx, "/demo/starts")
		if err != nil && !errors.Is(err, xenstore.ENOENT) {
			return err
		}
		n, _ := strconv.Atoi(s)
		return tx.Write(ctx, "/demo/starts", strconv.Itoa(n+1))
	})
	if err != nil {
		log.Fatal(err)
	}

	// The first event says where to look at first; each later one, that something may have changed there.
	watch, err := store.Watch(ctx, "/demo", xenstore.WatchOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for range 2 {
		<-watch.Ready()
		for _, event := range watch.Take() {
			names, err := store.Directory(ctx, "/demo")
			fmt.Println(event.Path, names, err)
		}
		if err := store.Write(ctx, "/demo/state", "4"); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// /demo [starts] <nil>
	// /demo/state [starts state] <nil>
}
