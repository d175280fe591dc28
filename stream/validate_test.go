package stream

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// faults are the messages of err, one a fault; each must wrap ErrInvalid.
func faults(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("%v does not wrap ErrInvalid", err)
	}
	return strings.Split(err.Error(), "\n")
}

func TestRefNames(t *testing.T) {
	for _, name := range []string{"q", "Quakes_1.2-x", "...", strings.Repeat("n", 128)} {
		if err := Local(name).Validate(); err != nil {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a/b", "a\x00", "größe", "a*", strings.Repeat("n", 129)} {
		if got := faults(t, Local(name).Validate()); len(got) != 1 {
			t.Errorf("name %q: faults %q, want 1", name, got)
		}
	}
	if got := faults(t, Ref{"12345678901x", "EU", "a b"}.Validate()); len(got) != 3 {
		t.Errorf("faults %q, want all 3 at once", got)
	}
}

func TestConfigDefaults(t *testing.T) {
	want := Config{Shards: 1, Retention: 24 * time.Hour, RecordBytes: 1 << 20, Mode: Provisioned}
	got := Config{}.WithDefaults()
	if got != want {
		t.Errorf("defaults = %+v, want %+v", got, want)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	set := Config{Shards: 7, Retention: 48 * time.Hour, RecordBytes: 2 << 20, Mode: OnDemand}
	if got := set.WithDefaults(); got != set {
		t.Errorf("defaults changed %+v to %+v", set, got)
	}
}

func TestConfigLimits(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		faults int
	}{
		{"as it is", func(*Config) {}, 0},
		{"most shards", func(c *Config) { c.Shards = 10_000 }, 0},
		{"too many shards", func(c *Config) { c.Shards = 10_001 }, 1},
		{"negative shards", func(c *Config) { c.Shards = -1 }, 1},
		{"a year", func(c *Config) { c.Retention = 8760 * time.Hour }, 0},
		{"more than a year", func(c *Config) { c.Retention = 8761 * time.Hour }, 1},
		{"less than a day", func(c *Config) { c.Retention = 23 * time.Hour }, 1},
		{"no whole hours", func(c *Config) { c.Retention = 24*time.Hour + time.Minute }, 1},
		{"10 MiB", func(c *Config) { c.RecordBytes = 10 << 20 }, 0},
		{"above 10 MiB", func(c *Config) { c.RecordBytes = 10<<20 + 1024 }, 1},
		{"below 1 MiB", func(c *Config) { c.RecordBytes = 1<<20 - 1024 }, 1},
		{"room for one record", func(c *Config) { c.MaxBytes = 1 << 20 }, 0},
		{"room for no record", func(c *Config) { c.MaxBytes = 1<<20 - 1 }, 1},
		{"room for no record of 2 MiB", func(c *Config) { c.RecordBytes, c.MaxBytes = 2<<20, 1<<20 }, 1},
		{"negative room", func(c *Config) { c.MaxBytes = -1 }, 1},
		{"on demand", func(c *Config) { c.Mode = OnDemand }, 0},
		{"no mode", func(c *Config) { c.Mode = "AUTO" }, 1},
		{"no whole KiB", func(c *Config) { c.RecordBytes = 1<<20 + 1 }, 1},
		{"all faults at once", func(c *Config) { *c = Config{Shards: -1, Retention: time.Hour, RecordBytes: 1} }, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Config{}.WithDefaults()
			tt.change(&c)
			if got := faults(t, c.Validate()); len(got) != tt.faults {
				t.Errorf("faults %q, want %d", got, tt.faults)
			}
		})
	}
}

func TestEntryLimits(t *testing.T) {
	const limit = 1 << 20
	tests := []struct {
		name   string
		entry  Entry
		faults int
	}{
		{"plain", Entry{PartitionKey: "k", Data: []byte("x")}, 0},
		{"empty data", Entry{PartitionKey: "k"}, 0},
		{"no key", Entry{Data: []byte("x")}, 1},
		{"256 characters of four bytes", Entry{PartitionKey: strings.Repeat("😀", 256)}, 0},
		{"257 characters", Entry{PartitionKey: strings.Repeat("k", 257)}, 1},
		{"257 characters of two bytes", Entry{PartitionKey: strings.Repeat("é", 257)}, 1},
		{"key is no UTF-8", Entry{PartitionKey: "a\xff"}, 1},
		{"explicit hash key", Entry{PartitionKey: "k", ExplicitHashKey: "340282366920938463463374607431768211455"}, 0},
		{"explicit hash key too large", Entry{PartitionKey: "k", ExplicitHashKey: "340282366920938463463374607431768211456"}, 1},
		{"explicit hash key no number", Entry{PartitionKey: "k", ExplicitHashKey: "abc"}, 1},
		{"data and key fill the limit", Entry{PartitionKey: "ké", Data: make([]byte, limit-3)}, 0},
		{"one byte too much", Entry{PartitionKey: "ké", Data: make([]byte, limit-2)}, 1},
		{"a bad traceparent is no fault", Entry{PartitionKey: "k", TraceParent: "nonsense"}, 0},
		{"all faults at once", Entry{ExplicitHashKey: "x", Data: make([]byte, limit+1)}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := faults(t, tt.entry.Validate(limit)); len(got) != tt.faults {
				t.Errorf("faults %q, want %d", got, tt.faults)
			}
		})
	}
}

func TestCallLimits(t *testing.T) {
	const limit = 1 << 20
	call := func(n, size int) []Entry {
		entries := make([]Entry, n)
		for i := range entries {
			entries[i] = Entry{PartitionKey: "k", Data: make([]byte, size-1)}
		}
		return entries
	}
	for name, entries := range map[string][]Entry{
		"one": call(1, 1), "500": call(500, 100), "10 MiB": call(10, limit),
	} {
		if err := ValidateCall(entries, limit); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := faults(t, ValidateCall(nil, limit)); len(got) != 1 {
		t.Errorf("no records: %q", got)
	}
	if got := faults(t, ValidateCall(call(501, 1), limit)); len(got) != 1 {
		t.Errorf("501 records: %q", got)
	}
	if got := faults(t, ValidateCall(append(call(10, limit), call(1, 1)...), limit)); len(got) != 1 || !strings.Contains(got[0], "10485761 bytes") {
		t.Errorf("10 MiB and a byte: %q", got)
	}

	bad := call(20, 10)
	bad[3].PartitionKey = ""
	bad[7].ExplicitHashKey = "x"
	got := faults(t, ValidateCall(bad, limit))
	if len(got) != 2 || !strings.HasPrefix(got[0], "record 3: ") || !strings.HasPrefix(got[1], "record 7: ") {
		t.Errorf("two bad records: %q, want both named by index", got)
	}
	for i := range bad {
		bad[i].PartitionKey = ""
	}
	if got := faults(t, ValidateCall(bad, limit)); !strings.Contains(got[len(got)-1], "10 more records") {
		t.Errorf("20 bad records: %q, want ten named and ten counted", got)
	}
}

func TestTraceParent(t *testing.T) {
	good := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	if !ValidTraceParent(good) {
		t.Errorf("%s refused", good)
	}
	for _, s := range []string{
		"", good[1:], good + "0", "01" + good[2:], strings.ToUpper(good), strings.ReplaceAll(good, "-", "_"),
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
	} {
		if ValidTraceParent(s) {
			t.Errorf("%q accepted", s)
		}
	}
}

func TestPositionNeedsWhatItsKindSays(t *testing.T) {
	seq := SequenceNumber{Epoch: 1}
	for _, p := range []Position{
		{Kind: TrimHorizon}, {Kind: Latest}, {Kind: AtTimestamp, Time: time.Unix(1, 0)}, {Kind: At, Sequence: seq}, {Kind: After, Sequence: seq},
	} {
		if err := p.Validate(); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
	for _, p := range []Position{{}, {Kind: "NEWEST"}, {Kind: AtTimestamp}, {Kind: At}, {Kind: After}} {
		if err := p.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v, want ErrInvalid", p, err)
		}
	}
}

func TestARN(t *testing.T) {
	if got, want := Local("quakes").ARN(), "arn:aws:kinesis:us-east-1:000000000000:stream/quakes"; got != want {
		t.Errorf("ARN = %s, want %s", got, want)
	}
	if got, want := ShardID(12), "shardId-000000000012"; got != want {
		t.Errorf("shard id = %s, want %s", got, want)
	}
}
