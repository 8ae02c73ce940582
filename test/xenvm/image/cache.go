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

// Ensure gives the directory of an image of today's packages, and builds it if it is not there. Any number of processes may do so at once: one
// builds, the others wait for it. say hears what takes time.
func Ensure(cache string, say func(format string, args ...any)) (string, error) {
	if err := (Host{}).Check(cache, true); err != nil {
		return "", err
	}
	versions, err := installedVersions()
	if err != nil {
		return "", err
	}
	debs := filepath.Join(cache, "deb")
	kernel, err := findKernel(debs)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "image-"+key(kernel.deb, versions))
	if complete(dir) {
		return dir, touch(dir)
	}
	if err := (Host{}).Check(cache, false); err != nil {
		return "", err
	}
	unlock, err := lock(cache)
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete(dir) { // by the one that had the lock
		return dir, touch(dir)
	}
	return dir, buildInto(cache, dir, kernel, say)
}

func buildInto(cache, dir string, kernel kernelPackage, say func(format string, args ...any)) error {
	start := time.Now()
	say("building the images for Xen's lab in %s (once)", cache)
	deb, err := kernel.download(filepath.Join(cache, "deb"))
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(cache, "build-*")
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // gone when it was renamed
	if err := build(work, kernel, deb); err != nil {
		return err
	}
	if err := os.Rename(work, dir); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	say("built in %.1f s", time.Since(start).Seconds())
	return prune(cache, dir, kernel.deb)
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

func complete(dir string) bool {
	return exists(filepath.Join(dir, XenFile)) && exists(filepath.Join(dir, KernelFile)) && exists(filepath.Join(dir, InitrdFile))
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

// prune drops all but the images used last, what a killed build left behind, and other kernels' packages. The lock is held.
func prune(cache, current, deb string) error {
	var errs []error
	left, _ := filepath.Glob(filepath.Join(cache, "build-*"))
	for _, dir := range left {
		errs = append(errs, os.RemoveAll(dir))
	}
	images, _ := filepath.Glob(filepath.Join(cache, "image-*"))
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
