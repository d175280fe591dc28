package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/stream"
)

func TestCodesAreUniqueAndComplete(t *testing.T) {
	form := regexp.MustCompile(`^WM[1-9]\d{3}$`)
	for i, c := range Codes {
		if !form.MatchString(c.ID) {
			t.Errorf("%s is no code", c.ID)
		}
		if i > 0 && Codes[i-1].ID >= c.ID {
			t.Errorf("%s stands behind %s", c.ID, Codes[i-1].ID)
		}
		if c.Title == "" || c.Explain == "" || len(c.Actions) == 0 {
			t.Errorf("%s does not say what it means and what to do", c.ID)
		}
		if c.Category == Usage && c.Status >= 500 {
			t.Errorf("%s: a caller's fault is no status %d", c.ID, c.Status)
		}
	}
	if _, ok := Lookup("WM0000"); ok {
		t.Error("a code was found that is not there")
	}
}

func TestEveryKnownErrorHasACode(t *testing.T) {
	for _, c := range codes {
		if got := toError(c.err).Code; got != c.code {
			t.Errorf("%v has code %s, want %s", c.err, got, c.code)
		}
	}
	if got := toError(&stream.CorruptError{}).Code; got != CodeCorrupt {
		t.Errorf("damage has code %s", got)
	}
	if got := toError(os.ErrClosed).Code; got != CodeInternal {
		t.Errorf("an error of no sentinel has code %s", got)
	}
}

func TestErrorDocsAreUpToDate(t *testing.T) {
	var want bytes.Buffer
	if err := WriteDocs(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Bytes()) {
		t.Error("docs/errors.md is not what the codes say: run go generate ./api/admin")
	}
}

func TestNearest(t *testing.T) {
	names := []string{"quakes", "orders", "orders-eu", "clicks"}
	tests := []struct {
		typed string
		want  []string
	}{
		{"quaks", []string{"quakes"}},
		{"quaeks", []string{"quakes"}}, // neighbours swapped
		{"Quakes", []string{"quakes"}},
		{"order", []string{"orders", "orders-eu"}},
		{"payments", nil},
		{"x", nil},
	}
	for _, tt := range tests {
		if got := Nearest(tt.typed, names); !slices.Equal(got, tt.want) {
			t.Errorf("Nearest(%q) = %v, want %v", tt.typed, got, tt.want)
		}
	}
}

func TestParseFrom(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	at := func(tm time.Time) stream.Position { return stream.Position{Kind: stream.AtTimestamp, Time: tm} }
	tests := []struct {
		text string
		want stream.Position
	}{
		{"trim-horizon", stream.Position{Kind: stream.TrimHorizon}},
		{"TRIM_HORIZON", stream.Position{Kind: stream.TrimHorizon}},
		{"latest", stream.Position{Kind: stream.Latest}},
		{"-15m", at(now.Add(-15 * time.Minute))},
		{"-2d", at(now.Add(-48 * time.Hour))},
		{"@1767366245.5", at(time.Unix(1767366245, 500_000_000))},
		{"2026-01-02T15:04:05Z", at(time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC))},
	}
	for _, tt := range tests {
		got, err := ParseFrom(tt.text, now)
		if err != nil || got.Kind != tt.want.Kind || !got.Time.Equal(tt.want.Time) {
			t.Errorf("ParseFrom(%q) = %v, %v, want %v", tt.text, got, err, tt.want)
		}
	}
	for _, bad := range []string{"", "yesterday", "-", "@", "@1h", "@-5", "at:", "at:x", "15m"} {
		if got, err := ParseFrom(bad, now); err == nil {
			t.Errorf("ParseFrom(%q) = %v, want an error", bad, got)
		}
	}
}

func TestDurationsReadBack(t *testing.T) {
	tests := []struct {
		text string
		want time.Duration
		back string
	}{
		{"3s", 3 * time.Second, "3s"}, {"24h", 24 * time.Hour, "24h"}, {"7d", 168 * time.Hour, "168h"}, {"1h30m", 90 * time.Minute, "1h30m"},
		{"1d12h", 36 * time.Hour, "36h"}, {"500ms", 500 * time.Millisecond, "500ms"}, {"0s", 0, "0s"}, {"10m", 10 * time.Minute, "10m"},
	}
	for _, tt := range tests {
		got, err := ParseDuration(tt.text)
		if err != nil || got != tt.want || Duration(got).String() != tt.back {
			t.Errorf("ParseDuration(%q) = %v (%s), %v, want %v (%s)", tt.text, got, Duration(got), err, tt.want, tt.back)
		}
	}
	for _, bad := range []string{"", "d", "3", "-1d", "1d2", "x"} {
		if got, err := ParseDuration(bad); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", bad, got)
		}
	}
}

func TestAServerIsCalledByNamesNobodyElseCanOwn(t *testing.T) {
	loopback := Hosts{Listen: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4566}}
	network := Hosts{Listen: &net.TCPAddr{IP: net.IPv6zero, Port: 4566}}
	named := Hosts{Listen: loopback.Listen, Names: []string{"Wasmill"}}
	tests := []struct {
		host                     string
		loopback, network, named bool
	}{
		{"127.0.0.1:4566", true, true, true},
		{"127.8.9.1", true, true, true},
		{"[::1]:4566", true, true, true},
		{"[::1]", true, true, true},
		{"[::ffff:127.0.0.1]:4566", true, true, true},
		{"0.0.0.0:4566", true, true, true},
		{"localhost", true, true, true},
		{"LocalHost.:4566", true, true, true},
		{"app.localhost:4566", true, true, true},
		{"host.docker.internal:4566", true, true, true},
		{"localhost.localstack.cloud:4566", true, true, true},
		{"sqs.us-east-1.localhost.localstack.cloud:4566", true, true, true},
		{"192.168.1.5:4566", false, true, false},
		{"[2001:db8::1]:4566", false, true, false},
		{"wasmill:4566", false, false, true},
		{"WASMILL.", false, false, true},
		{"x.wasmill", false, false, false},
		{"evil.example:4566", false, false, false},
		{"localhost.evil.example", false, false, false},
		{"evillocalhost", false, false, false},
		{"127.0.0.1.evil.example", false, false, false},
		{"127.1", false, false, false}, // a browser makes 127.0.0.1 of it
		{"localhost@evil.example", false, false, false},
		{".", false, false, false},
		{"", false, false, false},
	}
	for _, tt := range tests {
		if got := loopback.Allows(tt.host); got != tt.loopback {
			t.Errorf("on loopback: %q allowed: %v", tt.host, got)
		}
		if got := (Hosts{}).Allows(tt.host); got != tt.loopback {
			t.Errorf("without an address: %q allowed: %v", tt.host, got)
		}
		if got := network.Allows(tt.host); got != tt.network {
			t.Errorf("on a network: %q allowed: %v", tt.host, got)
		}
		if got := named.Allows(tt.host); got != tt.named {
			t.Errorf("named wasmill: %q allowed: %v", tt.host, got)
		}
	}
	for name, ok := range map[string]bool{"wasmill": true, "my_app.test": true, "": false, ".": false, "a:1": false, "http://a": false, "a b": false, "*": false} {
		if err := ValidHost(name); (err == nil) != ok {
			t.Errorf("ValidHost(%q) = %v", name, err)
		}
	}
}

func TestHeadersCarryAnyText(t *testing.T) {
	if got := ascii([]byte(`{"a":"é😀"}`)); got != `{"a":"\u00e9\ud83d\ude00"}` || strings.ContainsFunc(got, func(r rune) bool { return r > 0x7e }) {
		t.Errorf("ascii = %s", got)
	}
}

func TestAPanicIsAnAnswer(t *testing.T) {
	h := New(Deps{Info: func() Info { panic("of a test") }})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost"+Prefix+"/info", nil))
	if w.Code != 500 || !strings.Contains(w.Body.String(), CodeInternal) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestAStoreThatIsAwayIsUnavailableHoweverTheWaitForItEnded(t *testing.T) {
	away := errors.New("away")
	h := &handler{Deps: Deps{NoRoom: func(err error) bool { return errors.Is(err, away) }}}
	for _, tt := range []struct {
		err  error
		code string
	}{
		{fmt.Errorf("put: %w", away), CodeUnavailable},
		{fmt.Errorf("put: %w: %w", context.DeadlineExceeded, away), CodeUnavailable},
		{fmt.Errorf("put: %w", context.DeadlineExceeded), CodeWaitExpired},
		{newError(CodeWaitExpired, "not drained"), CodeWaitExpired},
	} {
		if got := h.toError(tt.err).Code; got != tt.code {
			t.Errorf("%v has code %s, want %s", tt.err, got, tt.code)
		}
	}
}
