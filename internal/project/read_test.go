package project

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// words are like the command line's, as far as the tests need.
func words() Words {
	return Words{
		Filter: func(pattern string, strict bool) error {
			if strings.Contains(pattern, "bad") || strict && strings.Contains(pattern, "wildcard") {
				return fmt.Errorf("%q is no pattern", pattern)
			}
			return nil
		},
		Duration: func(s string) (time.Duration, error) {
			if days, ok := strings.CutSuffix(s, "d"); ok {
				n, err := strconv.Atoi(days)
				return time.Duration(n) * 24 * time.Hour, err
			}
			d, err := time.ParseDuration(s)
			if err != nil {
				return 0, fmt.Errorf("%q is no duration", s)
			}
			return d, nil
		},
		Megabytes: func(s string) (int, error) {
			n, err := strconv.Atoi(strings.TrimSuffix(s, "MB"))
			if err != nil {
				return 0, fmt.Errorf("%q is no size", s)
			}
			return n, nil
		},
		Bytes: func(s string) (int64, error) {
			for i, unit := range []string{"KB", "MB", "GB"} {
				if rest, ok := strings.CutSuffix(s, unit); ok {
					n, err := strconv.ParseInt(rest, 10, 64)
					return n << (10 * (i + 1)), err
				}
			}
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				return 0, fmt.Errorf("%q is no size", s)
			}
			return n, nil
		},
		Place: func(s string) (stream.Position, error) {
			switch s {
			case "trim-horizon":
				return stream.Position{Kind: stream.TrimHorizon}, nil
			case "latest":
				return stream.Position{Kind: stream.Latest}, nil
			case "at:1":
				return stream.Position{Kind: stream.At}, nil
			}
			if back, ok := strings.CutPrefix(s, "-"); ok {
				d, err := time.ParseDuration(back)
				return stream.Position{Kind: stream.AtTimestamp, Time: time.Unix(1e9, 0).Add(-d)}, err
			}
			at, err := time.Parse(time.RFC3339, s)
			if err != nil {
				return stream.Position{}, fmt.Errorf("%q is no place in a stream", s)
			}
			return stream.Position{Kind: stream.AtTimestamp, Time: at}, nil
		},
		Getenv: func(name string) string { return map[string]string{"KEY": "k", "HOST": "h"}[name] },
		Near: func(name string, names []string) []string {
			for _, n := range names {
				if strings.HasPrefix(n, name[:min(len(name), 4)]) {
					return []string{n}
				}
			}
			return nil
		},
	}
}

func TestReadTakesEverySetting(t *testing.T) {
	p, err := Read([]byte(`
function = "quakes"
source = 'cmd\quakes'
memory = "256MB"
timeout = "30s"
description = "of the earth"
emits = ["alerts", "quakes"]
allow = ["opensearch:9200", "10.0.0.0/8:*"]
isolation = "invocation"
concurrency = 0

[env]
TABLE = "orders"
URL = "https://${HOST}/?k=${KEY}&p=$1 $${HOST}"

[[trigger]]
stream = "quakes"

[[trigger]]
name = "again"
stream = "audit"
from = "latest"
batch-size = 500
window = "2s"
parallel = 4
retries = 0
record-age = "7d"
bisect = true
partial-replies = true
backoff = "1ms"
skip-corrupt = true
deaggregate = true
paused = false
filters = ['{"data":{"type":["quake"]}}', """
{"partitionKey":["a"]}"""]
strict-filters = true
on-failure = "file:///failures"
on-destination-failure = "drop"
[[trigger]]
stream = "spare"
tumbling-window = "15m"
on-destination-failure = "retry"

[[stream]]
name = "quakes"
shards = 4
retention = "7d"
max-bytes = "10GB"
record-size = "2MB"
[[stream]]
name = "spare"
mode = "on-demand"
max-bytes = 0
`), words())
	if err != nil {
		t.Fatal(err)
	}
	none, no := 0, false
	most, unlimited := int64(10<<30), int64(0)
	want := Project{
		Function: Function{Name: "quakes", Source: "cmd/quakes", Config: functions.Config{Timeout: 30 * time.Second, Memory: 256, Description: "of the earth",
			Environment: map[string]string{"TABLE": "orders", "URL": "https://h/?k=k&p=$1 ${HOST}"}, Emits: []string{"alerts", "quakes"},
			Allow: []string{"opensearch:9200", "10.0.0.0/8:*"}, Isolation: functions.IsolationInvocation, Concurrency: &none}},
		Triggers: []Trigger{
			{Name: "quakes-quakes", From: "trim-horizon", Config: func() triggers.Config {
				c := triggers.Config{Function: "quakes", Stream: "quakes", Position: stream.Position{Kind: stream.TrimHorizon}}.WithDefaults()
				return c
			}()},
			{Name: "again", From: "latest", Paused: &no, Config: triggers.Config{Function: "quakes", Stream: "audit", Position: stream.Position{Kind: stream.Latest},
				BatchSize: 500, Window: 2 * time.Second, Parallel: 4, Retries: &none, RecordAge: 7 * 24 * time.Hour, Bisect: true, PartialReplies: true,
				Backoff: time.Millisecond, SkipCorrupt: true, Deaggregate: true, Filters: []string{`{"data":{"type":["quake"]}}`, `{"partitionKey":["a"]}`}, StrictFilters: true,
				OnFailure: "file:///failures", OnDestinationFailure: "drop"}},
			{Name: "quakes-spare", From: "trim-horizon", Config: func() triggers.Config {
				c := triggers.Config{Function: "quakes", Stream: "spare", Position: stream.Position{Kind: stream.TrimHorizon}, Tumbling: 15 * time.Minute}.WithDefaults()
				return c
			}()},
		},
		// Those named elsewhere are made too.
		Streams: []Stream{{Name: "quakes", Shards: 4, Retention: 7 * 24 * time.Hour, MaxBytes: &most, RecordBytes: 2 << 20}, {Name: "spare", Mode: stream.OnDemand, MaxBytes: &unlimited}, {Name: "audit"}, {Name: "alerts"}},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("read\n%+v\nwant\n%+v", p, want)
	}
}

func TestDefaultsAreTheServers(t *testing.T) {
	p, err := Read([]byte("function = \"f\"\n[[trigger]]\nstream = \"s\"\n"), words())
	if err != nil {
		t.Fatal(err)
	}
	if want := (functions.Config{}).WithDefaults(); !reflect.DeepEqual(p.Function.Config, want) {
		t.Errorf("function %+v, want %+v", p.Function.Config, want)
	}
	want := triggers.Config{Function: "f", Stream: "s", Position: stream.Position{Kind: stream.TrimHorizon}}.WithDefaults()
	if got := p.Triggers[0]; got.Name != "f" || got.Paused != nil || !reflect.DeepEqual(got.Config, want) {
		t.Errorf("trigger %+v, want %+v", got, want)
	}
}

func TestAllFaultsAreNamedAtOnceWithTheirPlaces(t *testing.T) {
	tests := []struct {
		name, file string
		want       []string
	}{
		{"nothing", "", []string{`1:1: the function has no name: begin with function = "NAME"`}},
		{"no TOML", "function = \"f\"\nmemory = = 3\n", []string{"2:10: "}},
		{"a key twice", "function = \"f\"\nfunction = \"g\"\n", []string{"2:1: "}},
		{"text without quotes", "function = tm\n", []string{`1:12: text needs quotes: function = "tm"`}},
		{"text without quotes that begins like no keyword", "function = \"f\"\nsource = ./handler # here\n", []string{`2:10: text needs quotes: source = "./handler"`}},
		{"a size without quotes", "function = \"f\"\nmemory = 256MB\n", []string{`2:13: text needs quotes: memory = "256MB"`}},
		{"a list without quotes", "function = \"f\"\nemits = [alerts, b]\n", []string{`2:10: text needs quotes: emits = ["alerts", "b"]`}},
		{"a memory that is none", "function = \"f\"\nmemory = \"lots\"\n", []string{`2:1: memory "lots": want whole megabytes, like "256MB" or "1GB", or 256 for that many megabytes`}},
		{"sizes of a stream", "function = \"f\"\n[[stream]]\nname = \"a\"\nmax-bytes = \"1KB\"\nrecord-size = 7\n[[stream]]\nname = \"b\"\nmax-bytes = \"lots\"\nrecord-size = true\n" +
			"[[stream]]\nname = \"c\"\nmax-bytes = \"2MB\"\nrecord-size = \"4MB\"\n", []string{
			`4:1: max-bytes: want 1MB or more, or 0 for no limit`, `5:1: record-size: want 1MB to 10MB, in whole KB`,
			`8:1: max-bytes: "lots" is no size`, `9:1: record-size: want a size in quotes`, `12:1: max-bytes: want room for one record, 4MB, or 0`}},
		{"a misspelt setting, and its like", "function = \"f\"\n\n  timeot = \"3s\"\n", []string{`3:3: wasmill.toml has no setting "timeot"; did you mean timeout?`}},
		{"a setting like none", "function = \"f\"\nxyz = 1\n", []string{`2:1: wasmill.toml has no setting "xyz": there are allow, concurrency, description, emits, env, function, `}},
		{"a misspelt setting of the second trigger", "function = \"f\"\n[[trigger]]\nstream = \"a\"\n[[trigger]]\nstream = \"b\"\nretrys = 1\n",
			[]string{`6:1: a trigger has no setting "retrys"; did you mean retries?`}},
		{"in an inline table", "function = \"f\"\nstream = [{name = \"a\", shard = 2}]\n", []string{`2:24: a stream has no setting "shard"; did you mean shards?`}},
		{"several", "function = \"a b\"\nmemory = 64\ntimeout = 3\nemits = [\"a\", 7, \"a\", \"!\"]\n[[stream]]\nshards = 0\nretention = \"90m\"\n", []string{
			`1:1: function name "a b": want 1 to 64 letters`,
			`2:1: memory: want 128MB to 10240MB`,
			`3:1: timeout: want a duration in quotes`,
			`4:15: emits: want names of streams in quotes`,
			`4:18: emits: stream a stands twice`,
			`4:23: stream name "!": want 1 to 128 of`,
			`5:3: a stream needs a name`,
			`6:1: shards: want a whole number, 1 to 10000`,
			`7:1: retention "90m": want 24h to 8760h`,
		}},
		{"of triggers", `function = "f"
[[trigger]]
batch-size = 0
window = "301s"
parallel = 11
retries = -2
record-age = "59s"
bisect = "yes"
backoff = "0s"
from = "yesterday"
name = "-"
[[trigger]]
stream = "s"
from = "at:1"
`, []string{
			`2:3: a trigger needs a stream`,
			`3:1: batch-size: want a whole number, 1 to 10000`,
			`4:1: window "301s": want 0s to 5m`,
			`5:1: parallel: want a whole number, 1 to 10`,
			`6:1: retries: want a whole number, -1 to 10000`,
			`7:1: record-age "59s": want 1m to 168h, or 0s for none`,
			`8:1: bisect: want true or false`,
			`9:1: backoff "0s": want 1ms to 1m`,
			`10:1: from: "yesterday" is no place in a stream`,
			`11:1: trigger name "-": want 1 to 64`,
			`14:1: from "at:1": want trim-horizon, latest or a time`,
		}},
		{"of filters and windows", `function = "f"
[[trigger]]
stream = "s"
filters = ["fine", "bad"]
[[trigger]]
stream = "t"
filters = "fine"
tumbling-window = "901s"
on-destination-failure = "maybe"
[[trigger]]
stream = "u"
filters = ["fine", 1]
tumbling-window = "1500ms"
on-failure = 1
[[trigger]]
stream = "v"
strict-filters = true
filters = ["a wildcard", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"]
tumbling-window = "1m"
parallel = 2
`, []string{
			`4:20: filters: "bad" is no pattern`,
			`7:1: filters: want a list of patterns`,
			`8:1: tumbling-window "901s": want 0s to 15m`,
			`9:1: on-destination-failure: want "retry", for ever, or "drop"`,
			`12:20: filters: want each pattern as text in single quotes`,
			`13:1: tumbling-window "1.5s": want whole seconds`,
			`14:1: on-failure: want text in quotes`,
			`18:1: filters: 11 patterns, want at most 10`,
			`18:12: filters: "a wildcard" is no pattern`,
			`20:1: parallel: a trigger with a tumbling-window has 1`,
		}},
		{"one stream twice", "function = \"f\"\n[[trigger]]\nstream = \"s\"\n[[trigger]]\nstream = \"s\"\n[[stream]]\nname = \"x\"\n[[stream]]\nname = \"x\"\n", []string{
			`4:3: two triggers read stream s`, `8:3: [[stream]] x stands twice`}},
		{"one name twice", "function = \"f\"\n[[trigger]]\nname = \"t\"\nstream = \"s\"\n[[trigger]]\nname = \"t\"\nstream = \"u\"\n", []string{`5:3: two triggers are named t`}},
		{"a variable that is not set", "function = \"f\"\n[env]\nTOKEN = \"${TOKEN}\"\nOPEN = \"${KEY\"\nN = 3\nAWS_REGION = \"x\"\n", []string{
			`3:1: env TOKEN: the variable TOKEN is not set, or empty`, `4:1: env OPEN: ${ begins a variable`, `5:1: env N: want text in quotes`,
			`6:1: environment variable AWS_REGION: the runtime sets it`}},
		{"a setting below [env]", "function = \"f\"\n[env]\nA1 = \"x\"\nemits = [\"a\"]\n", []string{`4:1: emits stands below [env], which makes it an environment variable: move it above [env]`}},
		{"too large an environment", "function = \"f\"\n[env]\nA1 = \"" + strings.Repeat("x", 5000) + "\"\n", []string{`2:2: environment of 5002 bytes: want at most 4096`}},
		{"a place without a port", "function = \"f\"\nallow = [\"db:5432\", \"net\"]\n", []string{`2:21: allow "net": want HOST:PORT, like opensearch:9200`}},
		{"places that are no list", "function = \"f\"\nallow = \"db:5432\"\n", []string{`2:1: allow: want a list of places to dial`}},
		{"a place twice", "function = \"f\"\nallow = [\"db:5432\", \"db:5432\"]\n", []string{`2:21: allow: db:5432 stands twice`}},
		{"an isolation that there is not", "function = \"f\"\nisolation = \"process\"\n", []string{`2:1: isolation: want "environment"`}},
		{"a concurrency below none", "function = \"f\"\nconcurrency = -1\n", []string{`2:1: concurrency: want a whole number, 0 to 100000`}},
		{"two functions", "[[function]]\nname = \"f\"\n", []string{`1:3: wasmill.toml holds one function`}},
		{"a table where tables are wanted", "function = \"f\"\n[trigger]\nstream = \"s\"\n", []string{`2:2: trigger: want it as [[trigger]], once for each`}},
	}
	for _, tt := range tests {
		_, err := Read([]byte(tt.file), words())
		faults, _ := errors.AsType[Faults](err)
		got := strings.Split(strings.ReplaceAll(faults.Error(), FileName+":", ""), "\n")
		bad := len(got) != len(tt.want)
		for i := range min(len(got), len(tt.want)) {
			// The file's own name is in texts too.
			bad = bad || !strings.HasPrefix(strings.ReplaceAll(got[i], FileName+":", ""), tt.want[i])
		}
		if bad {
			t.Errorf("%s:\n got %q\nwant %q", tt.name, got, tt.want)
		}
	}
}

func TestASettingBelowEnvIsWarnedOf(t *testing.T) {
	p, err := Read([]byte("function = \"f\"\n[env]\ntimeout = \"30s\"\n"), words())
	if err != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "wasmill.toml:3: timeout stands below [env]") {
		t.Errorf("%v, warnings %q", err, p.Warnings)
	}
}

func TestTheFileOfInitIsReadAsItIsWithAllItsSettingsAndWithoutThem(t *testing.T) {
	text := File("orders", ".")
	p, err := Read([]byte(text), words())
	if err != nil || p.Function.Name != "orders" || len(p.Triggers) != 1 || p.Triggers[0].Name != "orders" || p.Triggers[0].Config.Stream != "orders" || *p.Triggers[0].Config.Retries != 2 {
		t.Fatalf("%v: %+v", err, p)
	}
	var bare []string
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, "# ")
		if ok && (strings.HasPrefix(rest, "[") || strings.Contains(rest, " = ")) {
			line = rest
		}
		bare = append(bare, line)
	}
	w := words()
	w.Getenv = func(string) string { return "x" }
	full, err := Read([]byte(strings.Join(bare, "")), w)
	if err != nil {
		t.Fatalf("with every setting taken in: %v", err)
	}
	// Every default that is shown is the default.
	full.Function.Config.Allow, full.Function.Config.Concurrency = nil, nil // there is no default to show
	full.Function.Config.Environment, full.Function.Config.Emits, full.Triggers[0].Paused, full.Streams = nil, nil, nil, nil
	full.Triggers[0].Config.Filters, full.Triggers[0].Config.OnFailure = nil, ""
	p.Streams = nil
	if !reflect.DeepEqual(full, p) {
		t.Errorf("the defaults shown are not the defaults:\n%+v\n%+v", full, p)
	}
}

func TestTheFileOfAFunctionThatEmitsSaysSo(t *testing.T) {
	p, err := Read([]byte(File("orders", ".", "alerts", "audit")), words())
	if err != nil || !slices.Equal(p.Function.Config.Emits, []string{"alerts", "audit"}) || !p.Triggers[0].Config.PartialReplies {
		t.Errorf("%v: %+v", err, p)
	}
}

func TestNameIsMadeOfAFolder(t *testing.T) {
	for folder, want := range map[string]string{"quakes": "quakes", "my handler!": "my-handler", "/": "handler", "ä": "handler", strings.Repeat("x", 80): strings.Repeat("x", 64)} {
		got := Name(folder)
		if got != want || functions.ValidateName(got) != nil {
			t.Errorf("%q: %q, want %q", folder, got, want)
		}
	}
}

func TestTheHandlerOfInitUsesWhatTheSampleUses(t *testing.T) {
	sums, err := os.ReadFile("../../samples/quakes/go.sum")
	if err != nil {
		t.Fatal(err)
	}
	if got := Handler("x")["go.sum"]; got != string(sums) {
		t.Errorf("go.sum of a new handler is not that of samples/quakes:\n%s", got)
	}
}

func TestSource(t *testing.T) {
	embeds := append(Embeds("web", "package web\n\n//go:embed static/*.css \"a b.txt\" all:pages\nvar x embed.FS\n"), Embeds(".", "//go:embed version.txt\n")...)
	tests := map[string]bool{
		"main.go": true, "a/b.go": true, "go.mod": true, "go.sum": true, "go.work": true, "wasmill.toml": true,
		"main_test.go": false, ".#main.go": false, "#main.go#": false, "main.go~": false, ".main.go.swp": false, "4913": false,
		"README.md": false, "out.wasm": false, "version.txt": true, "a/version.txt": false,
		"web/static/x.css": true, "web/static/x.js": false, "web/a b.txt": true, "web/pages/de/index.html": true, "web/pages/.x": false,
	}
	for name, want := range tests {
		if got := Source(name, embeds); got != want {
			t.Errorf("Source(%q) = %v", name, got)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(File("x", "."))
	f.Add("function = \"f\"\n[[trigger]]\n[trigger.x]\n[[stream]]\nname = {a.b = 1}\n")
	f.Add("a = [[{b=1}],2]\n[env]\n\"\" = \"\"\n[trigger.a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Read([]byte(text), words())
		if err == nil {
			if e := functions.ValidateName(p.Function.Name); e != nil {
				t.Errorf("taken: %v", e)
			}
			return
		}
		lines := strings.Count(text, "\n") + 1
		faults, ok := errors.AsType[Faults](err)
		if !ok || len(faults) == 0 {
			t.Fatalf("%T: %v", err, err)
		}
		for _, one := range faults {
			if one.Line < 1 || one.Line > lines || one.Column < 1 || one.Text == "" {
				t.Errorf("fault %+v of a file of %d lines", one, lines)
			}
		}
	})
}
