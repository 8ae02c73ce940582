package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"vifplug/test/xenvm/cpio"
	"vifplug/test/xenvm/job"
)

// prepareRun ships a script, or a command line, and files to /root.
func prepareRun(o options, args []string, root *cpio.Tree) (job.Job, error) {
	j := job.Job{Args: []string{"/bin/bash", "/root/JOB"}, Dir: "/root", Env: testEnv(os.Environ()), Merge: sameFile(os.Stdout, os.Stderr)}
	if o.command != "" {
		j.Args = []string{"/bin/bash", "-c", o.command}
	} else {
		if len(args) == 0 {
			return j, errors.New("run what? See xenvm help")
		}
		if err := root.File("/root/JOB", args[0]); err != nil {
			return j, err
		}
		args = args[1:]
	}
	for _, f := range args {
		if err := root.Copy(filepath.Join("/root", filepath.Base(f)), f); err != nil {
			return j, err
		}
	}
	return j, nil
}

// prepareExec ships a Go test binary, its package's testdata and $XENVM_FILES. All lie in dom0 where they lie here, so that the test finds them
// as it would here; $XENVM_FILES lie in /usr/local/bin too, which is in $PATH.
func prepareExec(_ options, args []string, root *cpio.Tree) (job.Job, error) {
	if len(args) == 0 {
		return job.Job{}, errors.New("exec which test binary? See xenvm help")
	}
	dir, err := os.Getwd()
	if err != nil {
		return job.Job{}, fmt.Errorf("working directory: %w", err)
	}
	binary, err := filepath.Abs(args[0])
	if err != nil {
		return job.Job{}, fmt.Errorf("test binary: %w", err)
	}
	if err := mustBeStatic(binary); err != nil {
		return job.Job{}, err
	}
	rest, err := testArgs(args[1:])
	if err != nil {
		return job.Job{}, err
	}
	if err := root.File(binary, binary); err != nil {
		return job.Job{}, err
	}
	root.Dir(dir)
	if _, err := os.Stat(filepath.Join(dir, "testdata")); err == nil {
		if err := root.Copy(filepath.Join(dir, "testdata"), filepath.Join(dir, "testdata")); err != nil {
			return job.Job{}, err
		}
	}
	for _, f := range list(os.Getenv("XENVM_FILES")) {
		if err := addFile(root, moduleRoot(dir), f); err != nil {
			return job.Job{}, err
		}
	}
	return job.Job{Args: append([]string{binary}, rest...), Dir: dir, Env: append(testEnv(os.Environ()), "PWD="+dir), Merge: sameFile(os.Stdout, os.Stderr)}, nil
}

// addFile ships one of $XENVM_FILES: a relative one lies below the module's root.
func addFile(root *cpio.Tree, base, name string) error {
	if !filepath.IsAbs(name) {
		name = filepath.Join(base, name)
	}
	if err := root.Copy(name, name); err != nil {
		return fmt.Errorf("XENVM_FILES: %w", err)
	}
	root.Link(filepath.Join("/usr/local/bin", filepath.Base(name)), name)
	return nil
}

// moduleRoot is the directory at or above dir that has a go.mod, or dir.
func moduleRoot(dir string) string {
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return d
		}
		if d == filepath.Dir(d) {
			return dir
		}
	}
}

// sameFile says whether both lead to the same place: then the order of what goes there matters.
func sameFile(a, b *os.File) bool {
	x, xerr := a.Stat()
	y, yerr := b.Stat()
	return xerr == nil && yerr == nil && os.SameFile(x, y)
}
