// Package smoke proves that the lab is what dom0 tests take it for: a real Xen, whose guests' vifs reach a bridge. Its tests run in dom0:
//
//	go test -tags xen -exec 'bin/xenvm exec' ./test/xenvm/smoke
package smoke
