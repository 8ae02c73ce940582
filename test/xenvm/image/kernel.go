package image

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

var errKernel = errors.New("image: not a kernel as Debian builds it")

// payload cuts the compressed kernel out of a bzImage (linux: Documentation/x86/boot.rst: setup_sects, payload_offset, payload_length). Its last 4
// bytes, the uncompressed size, are no part of the xz stream.
func payload(b []byte) ([]byte, error) {
	if len(b) < 0x250 || string(b[0x202:0x206]) != "HdrS" {
		return nil, fmt.Errorf("%w: no bzImage", errKernel)
	}
	setup := int(b[0x1f1])
	if setup == 0 {
		setup = 4
	}
	from := (setup+1)*512 + int(binary.LittleEndian.Uint32(b[0x248:]))
	length := int(binary.LittleEndian.Uint32(b[0x24c:]))
	if length < 4 || from+length > len(b) {
		return nil, fmt.Errorf("%w: payload of %d bytes at %d, in %d", errKernel, length, from, len(b))
	}
	p := b[from : from+length-4]
	if !bytes.HasPrefix(p, []byte("\xfd7zXZ\x00")) {
		return nil, fmt.Errorf("%w: not compressed by xz", errKernel)
	}
	return p, nil
}

// decompress turns a bzImage into the ELF file inside it. Under emulation Xen takes two seconds for that, at each boot and for each guest.
func decompress(bzImage []byte) ([]byte, error) {
	p, err := payload(bzImage)
	if err != nil {
		return nil, err
	}
	out, err := unxz(p)
	if err != nil {
		return nil, err
	}
	return trim(out)
}

// unxz decompresses what xz compressed. A program for that is not on every Debian, but dpkg-deb is, which takes packages apart: so the stream goes
// in as the content of one (deb(5): an ar archive).
func unxz(stream []byte) ([]byte, error) {
	dir, err := os.MkdirTemp("", "xenvm-*")
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a directory of ours
	deb := bytes.NewBufferString("!<arch>\n")
	for _, m := range []struct {
		name string
		data []byte
	}{{"debian-binary", []byte("2.0\n")}, {"control.tar", nil}, {"data.tar.xz", stream}} {
		fmt.Fprintf(deb, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", m.name, 0, 0, 0, "100644", len(m.data))
		deb.Write(m.data)
		if len(m.data)%2 == 1 {
			deb.WriteByte('\n')
		}
	}
	path := filepath.Join(dir, "stream.deb")
	if err := os.WriteFile(path, deb.Bytes(), 0o600); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	out, err := command("", "dpkg-deb", "--fsys-tarfile", path)
	if err != nil {
		return nil, fmt.Errorf("image: decompress the kernel: %w", err)
	}
	return []byte(out), nil
}

// trim rewrites an ELF kernel without the holes between its segments, the zeros at their ends, and its sections: half the size.
func trim(b []byte) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKernel, err)
	}
	const headerSize, progSize = 64, 56
	var head elf.Header64
	if err := binary.Read(bytes.NewReader(b), binary.LittleEndian, &head); err != nil || f.Class != elf.ELFCLASS64 || head.Phentsize != progSize {
		return nil, fmt.Errorf("%w: no 64-bit ELF file", errKernel)
	}
	at := uint64(headerSize + progSize*len(f.Progs))
	progs, body := make([]elf.Prog64, len(f.Progs)), []byte{}
	for i, p := range f.Progs {
		if p.Off+p.Filesz < p.Off || p.Off+p.Filesz > uint64(len(b)) {
			return nil, fmt.Errorf("%w: segment %d lies outside", errKernel, i)
		}
		content := b[p.Off : p.Off+p.Filesz]
		if p.Type == elf.PT_LOAD {
			content = bytes.TrimRight(content, "\x00") // the loader clears what the file does not fill
		}
		for (at+uint64(len(body)))%16 != 0 {
			body = append(body, 0)
		}
		progs[i] = elf.Prog64{
			Type: uint32(p.Type), Flags: uint32(p.Flags), Off: at + uint64(len(body)),
			Vaddr: p.Vaddr, Paddr: p.Paddr, Filesz: uint64(len(content)), Memsz: p.Memsz, Align: p.Align,
		}
		body = append(body, content...)
	}
	head.Phoff, head.Shoff, head.Shnum, head.Shstrndx, head.Shentsize = headerSize, 0, 0, 0, 0
	var out bytes.Buffer
	for _, part := range []any{head, progs, body} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("%w: %w", errKernel, err)
		}
	}
	return out.Bytes(), nil
}
