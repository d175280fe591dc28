package main

import (
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
)

func TestAStreamsQuotaIsShownAndChanged(t *testing.T) {
	w := newWorld(t)
	w.ok("stream", "create", "orders", "--max-bytes", "1MB")
	w.ok("stream", "create", "free")
	if out := w.ok("stream", "get", "orders"); !strings.Contains(out, "quota") || !strings.Contains(out, "0 B of 1.00 MiB  0 %") {
		t.Errorf("stream get:\n%s", out)
	}
	if out := w.ok("stream", "get", "free"); !strings.Contains(out, "none") {
		t.Errorf("stream get:\n%s", out)
	}
	// Who puts is told before it is full.
	w.in = strings.Repeat(strings.Repeat("x", 100<<10-1)+"\n", 8)
	if o := w.run("stream", "put", "orders", "--key", "k"); o.status != 0 || strings.Contains(o.err, "warning") {
		t.Errorf("put to 78 %%: %+v", o)
	}
	w.in = strings.Repeat("x\n", 51200) // one record
	if o := w.run("stream", "put", "orders", "--raw", "--key", "k"); o.status != 0 || !strings.Contains(o.err, "warning: the stream holds") {
		t.Errorf("put to 88 %%: %+v", o)
	}
	w.in = strings.Repeat(strings.Repeat("x", 100<<10-1)+"\n", 12)
	put := w.run("stream", "put", "orders", "--file", "-", "--key", "k")
	if put.status != 1 || !strings.Contains(put.err, admin.CodeStreamFull) || !strings.Contains(put.err, "wasmill stream update orders --max-bytes") {
		t.Errorf("put: exit status %d\n%s", put.status, put.err)
	}
	o := w.run("stream", "get", "orders")
	if !strings.Contains(o.out, "1000 KiB of 1.00 MiB  98 %") || !strings.Contains(o.err, "warning: the stream holds 1024001 of the 1048576 bytes that it may") {
		t.Errorf("stream get of a full stream:\n%s%s", o.out, o.err)
	}

	v := data[admin.Stream](w, "stream", "update", "orders", "--max-bytes", "2MB")
	if v.MaxBytes != 2<<20 || v.Retention.String() != "24h" {
		t.Errorf("update: %+v", v)
	}
	if o := w.run("stream", "update", "orders", "--retention", "48h"); o.status != 0 || !strings.Contains(o.err, "undo: wasmill stream update orders --retention 24h --max-bytes 2097152") {
		t.Errorf("update: %+v", o)
	}
	w.ok("stream", "put", "orders", "--data", "x", "--key", "k")
	if v := data[admin.Stream](w, "stream", "update", "orders", "--max-bytes", "0"); v.MaxBytes != 0 || v.Retention.String() != "48h" {
		t.Errorf("update: %+v", v)
	}
	w.fails(2, admin.CodeUsage, "stream", "update", "orders")
	w.fails(1, admin.CodeStreamInvalid, "stream", "update", "orders", "--max-bytes", "1KB")
	w.fails(1, admin.CodeStreamInvalid, "stream", "update", "orders", "--retention", "1h")
	w.fails(3, admin.CodeStreamNotFound, "stream", "update", "order", "--max-bytes", "1GB")
}

func TestMaxDiskIsOfAServerOnDisk(t *testing.T) {
	w := nowhere(t)
	if o := w.fails(2, admin.CodeUsage, "up", "--memory", "--max-disk", "1GB"); !strings.Contains(o.err, "--max-memory") {
		t.Errorf("%s", o.err)
	}
	w.fails(2, admin.CodeUsage, "up", "--max-disk", "1KB")
	w.vars["WASMILL_MAX_DISK"] = "much"
	w.fails(2, admin.CodeUsage, "up")
}
