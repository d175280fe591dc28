package project

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// quakes is a project to change.
func quakes(t *testing.T, more string) Project {
	t.Helper()
	p, err := Read([]byte("function = \"quakes\"\n"+more), words())
	if err != nil {
		t.Fatal(err)
	}
	p.Function.Digest = "new0new0new0new0"
	return p
}

// done is a server that has all of p.
func done(t *testing.T, p Project) *model {
	t.Helper()
	m := &model{at: time.Unix(1e9, 0)}
	plan := Make(p, m.found(p.Function.Name), Options{})
	if len(plan.Refusals) > 0 {
		t.Fatal(plan.Refusals)
	}
	for _, s := range plan.Steps {
		m.apply(t, s)
	}
	return m
}

// model is a server, as far as plans go.
type model struct {
	functions []Function
	triggers  []Trigger
	streams   []Stream
	at        time.Time
}

func (m *model) found(function string) Found {
	f := Found{Triggers: slices.Clone(m.triggers), Streams: slices.Clone(m.streams)}
	for i := range m.functions {
		if m.functions[i].Name == function {
			one := m.functions[i]
			f.Function = &one
		}
	}
	return f
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// apply does what the server would, and fails where it would.
func (m *model) apply(t failer, s Step) {
	t.Helper()
	m.at = m.at.Add(time.Second)
	fn := slices.IndexFunc(m.functions, func(f Function) bool { return f.Name == s.Name })
	tr := slices.IndexFunc(m.triggers, func(f Trigger) bool { return f.Name == s.Name })
	st := slices.IndexFunc(m.streams, func(f Stream) bool { return f.Name == s.Name })
	bad := func(why string) { t.Fatalf("%s: %s", s.Line(), why) }
	switch {
	case s.Kind == OfStream && s.Action == Create:
		if st >= 0 {
			bad("exists")
		}
		m.streams = append(m.streams, Stream{Name: s.Name, Shards: max(1, s.Stream.Shards), Mode: cmp.Or(s.Stream.Mode, stream.Provisioned), Retention: max(24*time.Hour, s.Stream.Retention),
			MaxBytes: cmp.Or(s.Stream.MaxBytes, new(int64)), RecordBytes: cmp.Or(s.Stream.RecordBytes, stream.DefaultRecordBytes), Created: m.at})
	case s.Kind == OfStream && s.Action == Scale:
		if m.streams[st].Mode == stream.OnDemand {
			bad("is on-demand")
		}
		m.streams[st].Shards = s.Stream.Shards
	case s.Kind == OfStream && s.Action == Update:
		m.streams[st].Mode = cmp.Or(s.Stream.Mode, m.streams[st].Mode)
		m.streams[st].Retention = cmp.Or(s.Stream.Retention, m.streams[st].Retention)
		m.streams[st].MaxBytes = cmp.Or(s.Stream.MaxBytes, m.streams[st].MaxBytes)
	case s.Kind == OfFunction && s.Action == Create:
		if fn >= 0 {
			bad("exists")
		}
		m.functions = append(m.functions, *s.Function)
	case s.Kind == OfFunction && s.Action == Update:
		m.functions[fn].Config = s.Function.Config
	case s.Kind == OfFunction && s.Action == Code:
		m.functions[fn].Digest = s.Function.Digest
	case s.Kind == OfFunction && s.Action == Delete:
		if slices.ContainsFunc(m.triggers, func(t Trigger) bool { return t.Config.Function == s.Name }) {
			bad("in use")
		}
		m.functions = slices.Delete(m.functions, fn, fn+1)
	case s.Kind == OfTrigger && s.Action == Create:
		if tr >= 0 {
			bad("exists")
		}
		for _, other := range m.triggers {
			if other.Config.Stream == s.Trigger.Config.Stream && target(other.Config) == target(s.Trigger.Config) {
				bad("the pair is taken by " + other.Name)
			}
		}
		if !slices.ContainsFunc(m.streams, func(st Stream) bool { return st.Name == s.Trigger.Config.Stream }) {
			bad("no such stream")
		}
		one := *s.Trigger
		paused := one.Paused != nil && *one.Paused
		one.Paused, one.Created, one.Generation = &paused, m.at, 1
		m.triggers = append(m.triggers, one)
	case s.Kind == OfTrigger && s.Action == Delete:
		m.triggers = slices.Delete(m.triggers, tr, tr+1)
	case s.Kind == OfTrigger && s.Action == Update:
		c := s.Trigger.Config
		c.Stream, c.Position = m.triggers[tr].Config.Stream, m.triggers[tr].Config.Position
		m.triggers[tr].Config = c
	case s.Kind == OfTrigger:
		paused := s.Action == Pause
		m.triggers[tr].Paused = &paused
	default:
		bad("what is that?")
	}
}

func lines(plan Plan) string {
	var out []string
	for _, s := range plan.Steps {
		out = append(out, s.Line())
	}
	for _, r := range plan.Refusals {
		out = append(out, "! "+r.Text)
	}
	for _, s := range plan.Strays {
		out = append(out, "stray "+s)
	}
	for _, n := range plan.Notes {
		out = append(out, "note "+n)
	}
	return strings.Join(out, "\n")
}

func TestPlans(t *testing.T) {
	const base = "emits = [\"alerts\"]\n[env]\nKEY = \"a\"\nOLD = \"b\"\n[[trigger]]\nstream = \"quakes\"\n"
	tests := []struct {
		name   string
		file   string
		change func(m *model)
		o      Options
		want   string
	}{
		{"nothing differs", base, nil, Options{}, ""},
		{"all is new", base, func(m *model) { *m = model{} }, Options{}, `+ stream quakes: shards 1
+ stream alerts: shards 1
+ function quakes: code new0new0new0, memory 128MB, timeout 3s, emits alerts, env KEY added, env OLD added
+ trigger quakes: stream quakes, from trim-horizon`},
		{"settings that are left out are the default again", base, func(m *model) { m.functions[0].Config.Memory = 512; m.triggers[0].Config.BatchSize = 7 }, Options{},
			"~ function quakes: memory 512MB -> 128MB\n~ trigger quakes: batch-size 7 -> 100"},
		{"values of variables are never shown", base, func(m *model) {
			m.functions[0].Config.Environment = map[string]string{"KEY": "secret1", "NEW": "secret2"}
		}, Options{},
			"~ function quakes: env KEY changed, env NEW removed, env OLD added"},
		{"code after settings", base, func(m *model) {
			m.functions[0].Digest = "old0old0old0old0"
			m.functions[0].Config.Timeout = time.Minute
		}, Options{},
			"~ function quakes: timeout 1m -> 3s\n~ function quakes: code old0old0old0 -> new0new0new0"},
		{"what the old code emits stays allowed until the new code is there", base,
			func(m *model) {
				m.functions[0].Digest = "old0old0old0old0"
				m.functions[0].Config.Emits = []string{"gone"}
			}, Options{},
			"~ function quakes: emits gone -> alerts gone\n~ function quakes: code old0old0old0 -> new0new0new0\n~ function quakes: emits alerts gone -> alerts"},
		{"what the old code dials stays allowed until the new code is there", base + "", func(m *model) {
			m.functions[0].Digest = "old0old0old0old0"
			m.functions[0].Config.Allow = []string{"db:5432"}
		}, Options{}, "~ function quakes: code old0old0old0 -> new0new0new0\n~ function quakes: allow db:5432 -> none"},
		{"isolation and concurrency", "isolation = \"invocation\"\nconcurrency = 0\n" + base, func(m *model) {
			m.functions[0].Config.Isolation, m.functions[0].Config.Concurrency = functions.IsolationEnvironment, nil
		}, Options{},
			"~ function quakes: isolation environment -> invocation, concurrency 0"},
		{"streams of emits in another order are the same", "emits = [\"b\", \"a\"]\n", func(m *model) { m.functions[0].Config.Emits = []string{"a", "b"} }, Options{}, ""},
		{"a stream gets its shards", base + "[[stream]]\nname = \"quakes\"\nshards = 4\nretention = \"48h\"\n", func(m *model) { m.streams[0].Shards = 2; m.streams[0].Retention = 24 * time.Hour }, Options{},
			"~ stream quakes: retention 24h -> 48h\n~ stream quakes: shards 2 -> 4"},
		{"also fewer", base + "[[stream]]\nname = \"quakes\"\nshards = 1\n", func(m *model) { m.streams[0].Shards = 4 }, Options{},
			"~ stream quakes: shards 4 -> 1"},
		{"an on-demand stream has its own idea of shards", base + "[[stream]]\nname = \"quakes\"\nmode = \"on-demand\"\nshards = 4\n",
			func(m *model) { m.streams[0].Shards, m.streams[0].Mode = 7, stream.OnDemand }, Options{}, ""},
		{"which is said where the file does not", base + "[[stream]]\nname = \"quakes\"\nshards = 4\n",
			func(m *model) { m.streams[0].Shards, m.streams[0].Mode = 7, stream.OnDemand }, Options{},
			"note stream quakes is on-demand and has 7 shards, and wasmill.toml says 4: it splits and merges them by itself, so they stay as they are"},
		{"a stream becomes on-demand, and keeps its shards", base + "[[stream]]\nname = \"quakes\"\nmode = \"on-demand\"\nshards = 4\n",
			func(m *model) { m.streams[0].Shards, m.streams[0].Mode = 2, stream.Provisioned }, Options{}, "~ stream quakes: mode provisioned -> on-demand"},
		{"it becomes provisioned before it is scaled", base + "[[stream]]\nname = \"quakes\"\nmode = \"provisioned\"\nshards = 4\n",
			func(m *model) { m.streams[0].Shards, m.streams[0].Mode = 7, stream.OnDemand }, Options{},
			"~ stream quakes: mode on-demand -> provisioned\n~ stream quakes: shards 7 -> 4"},
		{"a new on-demand stream", base + "[[stream]]\nname = \"quakes\"\nmode = \"on-demand\"\n", func(m *model) { m.streams = m.streams[1:]; m.triggers = nil }, Options{},
			"+ stream quakes: shards 4, mode on-demand\n+ trigger quakes: stream quakes, from trim-horizon"},
		{"a stream is made with its sizes", base + "[[stream]]\nname = \"quakes\"\nmax-bytes = \"1GB\"\nrecord-size = \"2MB\"\n", func(m *model) { m.streams = m.streams[1:]; m.triggers = nil }, Options{},
			"+ stream quakes: shards 1, max-bytes 1GB, record-size 2MB\n+ trigger quakes: stream quakes, from trim-horizon"},
		{"a quota is changed, a record size is not", base + "[[stream]]\nname = \"quakes\"\nmax-bytes = \"3GB\"\nrecord-size = \"2MB\"\n",
			func(m *model) { m.streams[0].MaxBytes = nil; m.streams[0].RecordBytes = 1 << 20 }, Options{},
			"~ stream quakes: max-bytes no limit -> 3GB\nnote stream quakes takes records of up to 1MB and wasmill.toml says 2MB: the record size of a stream that exists cannot be changed, so it stays as it is"},
		{"a quota of none ends it", base + "[[stream]]\nname = \"quakes\"\nmax-bytes = 0\n", func(m *model) { m.streams[0].MaxBytes = ptr(int64(1 << 30)) }, Options{},
			"~ stream quakes: max-bytes 1GB -> no limit"},
		{"a quota that the file does not speak of stays", base, func(m *model) { m.streams[0].MaxBytes = ptr(int64(1 << 30)) }, Options{}, ""},
		{"a stream without settings is left alone", base, func(m *model) { m.streams[0].Shards = 9; m.streams[0].Retention = 99 * time.Hour }, Options{}, ""},
		{"pausing by hand is respected", base, func(m *model) { *m.triggers[0].Paused = true }, Options{},
			"note trigger quakes is paused, and stays so; let it go on with: wasmill trigger resume quakes"},
		{"and not where the file says otherwise", base + "paused = false\n", func(m *model) { *m.triggers[0].Paused = true }, Options{}, "~ trigger quakes: resume"},
		{"the file pauses", base + "paused = true\n", func(m *model) { *m.triggers[0].Paused = false }, Options{}, "~ trigger quakes: pause"},
		{"another stream is refused", base, func(m *model) { m.triggers[0].Config.Stream = "alerts" }, Options{},
			"! trigger quakes: it reads stream alerts and wasmill.toml says quakes, and a trigger keeps its stream and the place it started at"},
		{"unless it is to be replaced", base, func(m *model) { m.triggers[0].Config.Stream = "alerts" }, Options{Replace: true},
			"- trigger quakes: replaced: it reads stream alerts and wasmill.toml says quakes\n+ trigger quakes: stream quakes, from trim-horizon"},
		{"another place is refused", base, func(m *model) { m.triggers[0].Config.Position = stream.Position{Kind: stream.Latest} }, Options{},
			"! trigger quakes: it started at latest and wasmill.toml says trim-horizon, and a trigger keeps its stream and the place it started at"},
		{"a trigger that was moved since is where it is wanted", base, func(m *model) {
			m.triggers[0].Config.Position = stream.Position{Kind: stream.Latest}
			m.triggers[0].Generation = 2
		}, Options{}, ""},
		{"so long ago means when it was made", base + "from = \"-15m\"\n", func(m *model) { m.triggers[0].Config.Position.Time = time.Unix(5, 0) }, Options{}, ""},
		{"a time is a time", base + "from = \"2026-01-01T00:00:00Z\"\n", func(m *model) { m.triggers[0].Config.Position.Time = time.Unix(5, 0) }, Options{},
			"! trigger quakes: it started at 1970-01-01T00:00:05Z and wasmill.toml says 2026-01-01T00:00:00Z, and a trigger keeps its stream and the place it started at"},
		{"a stream that was deleted and made again is another", base, func(m *model) { m.streams[0].Created = m.at.Add(time.Hour) }, Options{},
			"! trigger quakes: the stream quakes it reads was deleted, and the one there is now is another, and a trigger keeps its stream and the place it started at"},
		{"a stream that was deleted is made, and its trigger replaced", base, func(m *model) { m.streams = m.streams[1:] }, Options{Replace: true},
			"+ stream quakes: shards 1\n- trigger quakes: replaced: the stream quakes it reads was deleted\n+ trigger quakes: stream quakes, from trim-horizon"},
		{"a trigger of another function is not ours", base, func(m *model) { m.triggers[0].Config.Function = "other" }, Options{Prune: true, Replace: true},
			"! trigger quakes calls function other, and is not this project's"},
		{"a trigger of a version comes to the function", base, func(m *model) { m.triggers[0].Config.Qualifier = "3" }, Options{}, "~ trigger quakes: function quakes:3 -> quakes"},
		{"a stray stays", base, func(m *model) { m.stray("old", "alerts") }, Options{}, "stray old"},
		{"unless pruned", base, func(m *model) { m.stray("old", "alerts") }, Options{Prune: true}, "- trigger old: not in wasmill.toml"},
		{"a renamed trigger is in the way of its new name", base + "name = \"new\"\n", func(m *model) { m.triggers[0].Name = "old" }, Options{},
			"! trigger old calls quakes with the records of stream quakes already, and is not in wasmill.toml; there can be one only\nstray old"},
		{"and pruned first", base + "name = \"new\"\n", func(m *model) { m.triggers[0].Name = "old" }, Options{Prune: true},
			"- trigger old: not in wasmill.toml\n+ trigger new: stream quakes, from trim-horizon"},
		{"what is on is said", "[[trigger]]\nstream = \"s\"\nbisect = true\nretries = 2\npaused = true\n", func(m *model) { m.triggers = nil }, Options{},
			"+ trigger quakes: stream s, from trim-horizon, retries 2, bisect on, paused at first"},
		{"filters and windows", base + "filters = ['p', 'q']\ntumbling-window = '1m'\non-failure = 'file:///f'\n", func(m *model) {
			c := &m.triggers[0].Config
			c.Filters, c.StrictFilters, c.Tumbling, c.OnFailure, c.OnDestinationFailure = []string{"o"}, true, time.Second, "arn:aws:s3:::b", triggers.Drop
		}, Options{},
			"~ trigger quakes: filters o -> p or q, strict-filters true -> false, tumbling-window 1s -> 1m, on-failure arn:aws:s3:::b -> file:///f, on-destination-failure drop -> retry"},
		{"filters that are left out go", base, func(m *model) { m.triggers[0].Config.Filters = []string{"o"} }, Options{}, "~ trigger quakes: filters o -> none"},
	}
	for _, tt := range tests {
		p := quakes(t, tt.file)
		m := done(t, p)
		if tt.change != nil {
			tt.change(m)
		}
		if got := lines(Make(p, m.found("quakes"), tt.o)); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.name, got, tt.want)
		}
	}
}

func (m *model) stray(name, stream string) {
	one := m.triggers[0]
	one.Name, one.Config.Stream = name, stream
	m.triggers = append(m.triggers, one)
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	p := quakes(t, "[[trigger]]\nstream = \"s\"\n")
	m := done(t, p)
	m.triggers[0].Config.Stream = "other"
	plan := Make(p, m.found("quakes"), Options{})
	for _, r := range plan.Refusals {
		if len(r.Choices) == 0 {
			t.Errorf("%s: and now?", r.Text)
		}
	}
	if len(plan.Refusals) != 1 || plan.Refusals[0].Choices[0].Command != "wasmill deploy --replace" {
		t.Errorf("%+v", plan.Refusals)
	}
}

func TestRemovalTakesTriggersFirstAndLeavesStreams(t *testing.T) {
	p := quakes(t, "emits = [\"alerts\"]\n[[trigger]]\nstream = \"a\"\n[[trigger]]\nstream = \"b\"\n")
	m := done(t, p)
	if got := lines(Removal(p, m.found("quakes"), Options{})); got != "- trigger quakes-a\n- trigger quakes-b\n- function quakes" {
		t.Error(got)
	}
	m.stray("mine", "alerts")
	if got := lines(Removal(p, m.found("quakes"), Options{})); !strings.Contains(got, "! trigger mine calls function quakes and is not in wasmill.toml") {
		t.Error(got)
	}
	plan := Removal(p, m.found("quakes"), Options{Prune: true})
	for _, s := range plan.Steps {
		m.apply(t, s)
	}
	if len(m.functions) != 0 || len(m.triggers) != 0 || len(m.streams) != 3 {
		t.Errorf("left: %+v", m)
	}
	if got := lines(Removal(p, m.found("quakes"), Options{})); got != "" {
		t.Errorf("again: %s", got)
	}
}

// TestAPlanCutOffAnywhereIsCompletedByTheNext has servers in any state, and
// carries out plans that stop after any step: what the server is asked for must
// always be possible, and in the end nothing is left to do.
func TestAPlanCutOffAnywhereIsCompletedByTheNext(t *testing.T) {
	names := []string{"a", "b", "c"}
	config := func(t *rapid.T, label string) functions.Config {
		c := functions.Config{Memory: rapid.SampledFrom([]int{128, 256}).Draw(t, label+" memory"),
			Emits:       rapid.SliceOfNDistinct(rapid.SampledFrom(names), 0, 3, rapid.ID).Draw(t, label+" emits"),
			Allow:       rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a:1", "b:2"}), 0, 2, rapid.ID).Draw(t, label+" allow"),
			Concurrency: rapid.SampledFrom([]*int{nil, new(int), ptr(7)}).Draw(t, label+" concurrency"),
			Isolation:   rapid.SampledFrom([]functions.Isolation{"", functions.IsolationInvocation}).Draw(t, label+" isolation"),
			Environment: rapid.MapOfN(rapid.SampledFrom(names), rapid.SampledFrom(names), 0, 2).Draw(t, label+" env")}
		return c.WithDefaults()
	}
	trigger := func(t *rapid.T, name, fn, label string) Trigger {
		paused := rapid.SampledFrom([]*bool{nil, new(bool), ptr(true)}).Draw(t, label+" paused")
		from := rapid.SampledFrom([]string{"trim-horizon", "latest", "-1h"}).Draw(t, label+" from")
		at, _ := words().Place(from)
		return Trigger{Name: name, From: from, Paused: paused, Config: triggers.Config{Function: fn, Stream: rapid.SampledFrom(names).Draw(t, label+" stream"), Position: at,
			BatchSize: rapid.IntRange(1, 2).Draw(t, label+" batch"), Bisect: rapid.Bool().Draw(t, label+" bisect")}.WithDefaults()}
	}
	rapid.Check(t, func(t *rapid.T) {
		p := Project{Function: Function{Name: "f", Digest: "1", Config: config(t, "file")}}
		for i := range rapid.IntRange(0, 3).Draw(t, "triggers") {
			one := trigger(t, fmt.Sprint("t", i), "f", fmt.Sprint("file ", i))
			if !slices.ContainsFunc(p.Triggers, func(o Trigger) bool { return o.Config.Stream == one.Config.Stream }) {
				p.Triggers = append(p.Triggers, one)
			}
		}
		(&reader{}).complete(&p)
		m := &model{at: time.Unix(1e9, 0)}
		for _, s := range names {
			if rapid.Bool().Draw(t, "has "+s) {
				m.streams = append(m.streams, Stream{Name: s, Shards: 1, Retention: 24 * time.Hour, Created: time.Unix(rapid.Int64Range(1, 3).Draw(t, "age of "+s), 0)})
			}
		}
		if rapid.Bool().Draw(t, "has f") {
			m.functions = []Function{{Name: "f", Digest: rapid.SampledFrom([]string{"0", "1"}).Draw(t, "code"), Config: config(t, "server")}}
		}
		for _, name := range []string{"t0", "t1", "t2", "old"} {
			if len(m.functions) == 0 || !rapid.Bool().Draw(t, "has "+name) {
				continue
			}
			one := trigger(t, name, "f", "server "+name)
			one.Created, one.Generation = time.Unix(2, 0), rapid.IntRange(1, 2).Draw(t, "generation")
			if one.Paused == nil {
				one.Paused = new(bool)
			}
			if !slices.ContainsFunc(m.triggers, func(o Trigger) bool { return o.Config.Stream == one.Config.Stream }) {
				m.triggers = append(m.triggers, one)
			}
		}
		had := maps.Collect(func(yield func(string, bool) bool) {
			for _, s := range m.streams {
				yield(s.Name, true)
			}
		})

		o := Options{Prune: true, Replace: true}
		for round := 0; ; round++ {
			plan := Make(p, m.found("f"), o)
			if len(plan.Refusals) > 0 {
				t.Fatalf("refused though all is allowed: %v", plan.Refusals)
			}
			if len(plan.Steps) == 0 {
				break
			}
			if round > 40 {
				t.Fatalf("it never ends: %s", lines(plan))
			}
			n := rapid.IntRange(1, len(plan.Steps)).Draw(t, "steps until it is cut off")
			for _, s := range plan.Steps[:n] {
				m.apply(t, s)
			}
		}
		// What is there now is what the file says, and no stream was lost.
		if got := m.functions[0]; got.Digest != "1" || FunctionChanges(got.Config, p.Function.Config) != nil {
			t.Fatalf("function %+v, want %+v", got, p.Function)
		}
		if len(m.triggers) != len(p.Triggers) {
			t.Fatalf("%d triggers, want %d", len(m.triggers), len(p.Triggers))
		}
		for s := range had {
			if !slices.ContainsFunc(m.streams, func(o Stream) bool { return o.Name == s }) {
				t.Fatalf("stream %s is gone", s)
			}
		}
	})
}

func ptr[T any](v T) *T { return &v }
