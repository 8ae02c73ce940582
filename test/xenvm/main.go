// Command xenvm runs a command, or a Go test, in a real Xen dom0: on any machine that QEMU runs on, without KVM and without Xen.
//
// It builds Xen, dom0 and two guests from Debian's packages (once), boots them in QEMU's software emulation, ships what is to run, and gives
// back its output, byte for byte, and its exit status.
//
//	go test -tags xen -exec 'bin/xenvm exec' ./test/dom0
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"vifplug/test/xenvm/image"
	"vifplug/test/xenvm/job"
)

const usage = `xenvm runs commands and Go tests in a real Xen dom0, inside QEMU.

  xenvm packages                          Debian's packages that it needs, one per line
  xenvm build                             build the images, if they are not in the cache; print where they are
  xenvm run [FLAGS] SCRIPT [FILE...]      run a bash script in dom0; FILEs lie beside it in /root
  xenvm run [FLAGS] -c COMMAND [FILE...]  the same for a command line
  xenvm exec [FLAGS] TEST [ARGUMENT...]   run a Go test binary in dom0: go test -exec 'xenvm exec'

Flags of run and exec (or in the environment):
  --timeout D     stop after D (10m; exec: that of the test and 90 s)   XENVM_TIMEOUT
  --memory MIB    memory of the machine (2048)                           XENVM_MEMORY
  --console FILE  keep what Xen, dom0's kernel and its init print        XENVM_CONSOLE
  --kernel-args A more of dom0's kernel command line                     XENVM_KERNEL_ARGS
  --verbose       say how long things took

Environment: XENVM_CACHE (where the images are), XENVM_FILES (files for exec to ship, separated by colons, relative to the module's root).

Exit status: that of the command; 124 when time ran out, 125 when dom0 did not get to run it to its end, 126 when something is missing here.
`

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	verb := ""
	if len(args) > 0 {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "packages":
		fmt.Println(strings.Join(image.Packages(), "\n"))
		return 0
	case "build":
		return finish(build())
	case "run":
		return runJob(args, prepareRun)
	case "exec":
		return runJob(args, prepareExec)
	case "agent": // in dom0
		return finish(job.Agent())
	case "help", "-h", "--help":
		fmt.Print(usage)
		return 0
	}
	fmt.Fprint(os.Stderr, usage)
	return 2
}

func build() error {
	cache, err := image.CacheDir()
	if err != nil {
		return err
	}
	dir, err := image.Ensure(cache, say)
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}

// finish says an error, and gives the exit status.
func finish(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(usage)
		return 0
	}
	say("%v", err)
	return statusMissing
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "xenvm: "+format+"\n", args...) }
