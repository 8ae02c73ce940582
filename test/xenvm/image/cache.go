package image

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// keep is how many images stay in the cache; the oldest go first.
const keep = 2

// CacheDir is $XENVM_CACHE, or xenvm in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("XENVM_CACHE"); dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", fmt.Errorf("image: %w", err)
		}
		return abs, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", Missing{What: "There is no cache directory (" + err.Error() + ")", Remedy: "Set XENVM_CACHE to a directory"}
	}
	return filepath.Join(dir, "xenvm"), nil
}

// kind is what the cache keeps: files that are built of a kernel's package, in a directory that is named by all that goes into them.
type kind struct {
	prefix string                                              // of the directory's name
	what   string                                              // for people
	files  []string                                            // that a finished one has
	check  func(cache string, built bool) error                // says what this machine lacks
	key    func(k kernelPackage) (string, error)               // names all that goes in
	build  func(dir string, k kernelPackage, deb string) error // makes all files in dir
}

// lab is the machine with Xen.
var lab = kind{
	prefix: "image-", what: "images for Xen's lab", files: []string{XenFile, KernelFile, InitrdFile}, check: Host{}.Check, build: build,
	key: func(k kernelPackage) (string, error) {
		versions, err := installedVersions()
		return key(k.deb, versions), err
	},
}

// Ensure gives the directory of an image of today's packages, and builds it if it is not there. Any number of processes may do so at once: one
// builds, the others wait for it. say hears what takes time.
func Ensure(cache string, say func(format string, args ...any)) (string, error) {
	return lab.ensure(cache, say)
}

func (i kind) ensure(cache string, say func(format string, args ...any)) (string, error) {
	if err := i.check(cache, true); err != nil {
		return "", err
	}
	debs := filepath.Join(cache, "deb")
	kernel, err := findKernel(debs)
	if err != nil {
		return "", err
	}
	name, err := i.key(kernel)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, i.prefix+name)
	if i.complete(dir) {
		return dir, touch(dir)
	}
	if err := i.check(cache, false); err != nil {
		return "", err
	}
	unlock, err := lock(cache)
	if err != nil {
		return "", err
	}
	defer unlock()
	if i.complete(dir) { // by the one that had the lock
		return dir, touch(dir)
	}
	return dir, i.buildInto(cache, dir, kernel, say)
}

func (i kind) buildInto(cache, dir string, kernel kernelPackage, say func(format string, args ...any)) error {
	start := time.Now()
	say("building the %s in %s (once)", i.what, cache)
	deb, err := kernel.download(filepath.Join(cache, "deb"))
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "build-*")
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // gone when it was renamed
	if err := i.build(work, kernel, deb); err != nil {
		return err
	}
	if err := os.Rename(work, dir); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	say("built in %.1f s", time.Since(start).Seconds())
	return prune(cache, i.prefix, dir, kernel.deb)
}

// complete says whether a directory has all files of a finished one.
func (i kind) complete(dir string) bool {
	return !slices.ContainsFunc(i.files, func(f string) bool { return !exists(filepath.Join(dir, f)) })
}

// key names an image by all that goes into it.
func key(parts ...string) string {
	h := sha256.New()
	for _, p := range append([]string{version, string(dom0Init), string(guestInit), fmt.Sprint(recipe, dom0Modules, droppedModules, pvModules, hvmModules)}, parts...) {
		fmt.Fprintf(h, "%d:%s", len(p), p) //nolint:errcheck // a hash takes everything
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// installedVersions lists the packages of the recipe and their versions; one that is not installed is missing, unless its files are there.
func installedVersions() (string, error) {
	out, err := command("", append([]string{"dpkg-query", "-W", "-f", "${Package} ${Version}\n"}, Packages()...)...)
	if err != nil {
		if missing := (Host{FreeDisk: func(string) uint64 { return buildSpace }}).Check("", false); missing != nil {
			return "", missing
		}
		return "", fmt.Errorf("%w\n%w", err, Missing{What: "Not all packages are installed", Remedy: "Install them: apt-get install --no-install-recommends " + strings.Join(Packages(), " ")})
	}
	return out, nil
}

// touch marks an image as used.
func touch(dir string) error {
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}

// lock waits for the cache's lock; it goes with the process at the latest.
func lock(cache string) (unlock func(), err error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("image: lock %s: %w", cache, err)
	}
	return func() { _ = f.Close() }, nil
}

// prune drops all but those of a kind that were used last, what a killed build left behind, and other kernels' packages. The lock is held.
func prune(cache, prefix, current, deb string) error {
	var errs []error
	left, _ := filepath.Glob(filepath.Join(cache, "build-*"))
	for _, dir := range left {
		errs = append(errs, os.RemoveAll(dir))
	}
	images, _ := filepath.Glob(filepath.Join(cache, prefix+"*"))
	slices.SortFunc(images, func(a, b string) int { return modified(b).Compare(modified(a)) })
	for i, dir := range images {
		if i >= keep && dir != current {
			errs = append(errs, os.RemoveAll(dir))
		}
	}
	debs, _ := filepath.Glob(filepath.Join(cache, "deb", "*.deb"))
	for _, d := range debs {
		if filepath.Base(d) != deb {
			errs = append(errs, os.Remove(d))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("image: tidy the cache: %w", err)
	}
	return nil
}

func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
