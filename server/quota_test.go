package server

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/api/admin"
)

// putUntilRefused puts records of 100 KiB until one is refused, and returns how many were
// stored and the refusal.
func putUntilRefused(t *testing.T, c *admin.Client, name string) (n int, refusal *admin.Error) {
	t.Helper()
	text := strings.Repeat("x", 100<<10-1)
	for ; n < 1000; n++ {
		put, err := c.Put(t.Context(), name, []admin.Entry{{Key: "k", Text: text}})
		if err != nil {
			t.Fatal(err)
		}
		if put.Failed > 0 {
			return n, put.Results[0].Error
		}
	}
	t.Fatal("nothing is refused")
	return n, nil
}

// Issue 3, quotas: bytes per stream, a warning at 80 %, refusal with an error that
// can be retried and says what to do.
func TestAStreamIsKeptWithinItsQuota(t *testing.T) {
	s := start(t, Config{Memory: true})
	c := client(t, s)
	defer c.Close()
	if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: "s", MaxBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	n, refusal := putUntilRefused(t, c, "s")
	if n != 10 || refusal.Code != admin.CodeStreamFull || !refusal.Retryable || !strings.Contains(refusal.Message, "1048576 bytes") {
		t.Errorf("%d of 100 KiB stored in 1 MiB, then %+v", n, refusal)
	}
	if a := refusal.Actions; len(a) < 2 || a[1].Command != "wasmill stream update s --max-bytes 10GB" {
		t.Errorf("actions: %+v", a)
	}
	v, err := c.Stream(t.Context(), "s")
	if err != nil || v.MaxBytes != 1<<20 || v.Bytes != 1_024_000 || !strings.Contains(v.Warning, "97 %") || !strings.Contains(v.Warning, "stream update s") {
		t.Errorf("stream: %+v, %v", v, err)
	}
	if _, body := call(t, "GET", s.Endpoint()+"/_wasmill/metrics", "", nil); !strings.Contains(body, `wasmill_UsedBytes_bytes{StreamName="s"} 1.024e+06`) || !strings.Contains(body, `wasmill_LimitBytes_bytes{StreamName="s"} 1.048576e+06`) {
		t.Errorf("metrics:\n%s", body)
	}

	most, hours := int64(4<<20), admin.Duration(48*time.Hour)
	if v, err = c.UpdateStream(t.Context(), "s", admin.StreamChange{MaxBytes: &most, Retention: &hours}); err != nil || v.MaxBytes != most || v.Retention != hours {
		t.Errorf("update: %+v, %v", v, err)
	}
	if n, _ := putUntilRefused(t, c, "s"); n != 30 {
		t.Errorf("%d more stored in 4 MiB, want 30", n)
	}
	v, err = c.UpdateStream(t.Context(), "s", admin.StreamChange{Retention: &hours})
	if err != nil || v.MaxBytes != most {
		t.Errorf("what is not named is changed: %+v, %v", v, err)
	}
	_, err = c.UpdateStream(t.Context(), "s", admin.StreamChange{})
	coded(t, "change nothing", err, admin.CodeBadRequest, "retention")
	few := int64(10)
	_, err = c.UpdateStream(t.Context(), "s", admin.StreamChange{MaxBytes: &few})
	coded(t, "room for no record", err, admin.CodeStreamInvalid, "10 bytes")
	_, err = c.UpdateStream(t.Context(), "none", admin.StreamChange{MaxBytes: &few})
	coded(t, "no such stream", err, admin.CodeStreamNotFound, "none")
	status, body := call(t, "PATCH", s.Endpoint()+"/_wasmill/v1/streams/s", `{"shards":2}`, nil)
	refused(t, "unknown field", status, body, 400, admin.CodeBadRequest, "shards")
}

// Issue 3, quotas: --max-disk.
func TestTheDataDirectoryIsKeptWithinItsLimit(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := start(t, Config{Data: dir, MaxDisk: 8 << 20})
	c := client(t, s)
	defer c.Close()
	if info, err := c.Info(t.Context()); err != nil || info.Limit != 8<<20 || info.Warning != "" || info.Free > 8<<20 {
		t.Errorf("info: %+v, %v", info, err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := c.CreateStream(t.Context(), admin.StreamSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	n, refusal := putUntilRefused(t, c, "a")
	if n < 50 || n > 81 || refusal.Code != admin.CodeUnavailable || !refusal.Retryable || !strings.Contains(refusal.Message, "disk limit reached") || !strings.Contains(refusal.Message, "8.0 MiB") {
		t.Errorf("%d of 100 KiB stored in 8 MiB, then %+v", n, refusal)
	}
	info, err := c.Info(t.Context())
	if err != nil || info.Used > 8<<20 || info.Used < 7<<20 || info.Free > 200<<10 || !strings.Contains(info.Warning, "of the 8388608 bytes") {
		t.Errorf("info when full: %+v, %v", info, err)
	}
	// The journals' tenth is what lets the way out be taken.
	days := admin.Duration(48 * time.Hour)
	if _, err := c.UpdateStream(t.Context(), "a", admin.StreamChange{Retention: &days}); err != nil {
		t.Errorf("change the retention: %v", err)
	}
	if err := c.DeleteStream(t.Context(), "a", false); err != nil {
		t.Fatal(err)
	}
	for {
		put, err := c.Put(t.Context(), "b", []admin.Entry{{Key: "k", Text: "x"}})
		if err != nil {
			t.Fatal(err)
		}
		if put.Failed == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond) // the files go a moment later
	}
}
