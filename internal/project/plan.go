package project

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/stream"
)

// Action is what a step does.
type Action string

const (
	Create Action = "create"
	Update Action = "update"      // settings
	Code   Action = "update-code" // of a function
	Scale  Action = "scale"       // a stream, to another number of shards
	Pause  Action = "pause"
	Resume Action = "resume"
	Delete Action = "delete"
)

// Kind is what a step is about.
type Kind string

const (
	OfStream   Kind = "stream"
	OfFunction Kind = "function"
	OfTrigger  Kind = "trigger"
)

// Step is one call of the server's API. Exactly the field of its kind is set,
// to what is wanted; nothing where it deletes.
type Step struct {
	Action  Action   `json:"action"`
	Kind    Kind     `json:"kind"`
	Name    string   `json:"name"`
	Changes []Change `json:"changes,omitempty"`
	Why     string   `json:"why,omitempty"` // of a deletion

	Stream   *Stream   `json:"-"`
	Function *Function `json:"-"`
	Trigger  *Trigger  `json:"-"`
}

// Change is a setting that a step changes.
type Change struct {
	Setting string `json:"setting"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	// How is added, changed or removed: of an environment variable, whose value
	// may be a secret and is never shown.
	How string `json:"how,omitempty"`
}

// Refusal is why nothing can be done, and what can be done about that.
type Refusal struct {
	Text    string   `json:"text"`
	Choices []Choice `json:"choices"`
}

// Choice is a way on: a command, or where that is empty what Text says.
type Choice struct {
	Text    string `json:"text"`
	Command string `json:"command,omitempty"`
}

// Plan is how a server gets from what it has to what a file asks for.
type Plan struct {
	Function string `json:"function"`
	// Steps in the order they are to be carried out. Cut off after any of them,
	// the plan made anew holds the rest.
	Steps []Step `json:"steps"`
	// Refusals: with any, no step is to be carried out.
	Refusals []Refusal `json:"refusals"`
	// Strays are triggers that call the function and are not in the file. They stay.
	Strays []string `json:"strays"`
	// Notes are differences that stay, for people.
	Notes []string `json:"notes"`
}

// Options of a plan. The zero value works.
type Options struct {
	// Prune deletes strays.
	Prune bool
	// Replace deletes and creates triggers whose stream or starting place is
	// another than the file's, which loses their checkpoints.
	Replace bool
}

// Make compares what a file asks for, its code's digest set, with what a server has.
func Make(p Project, found Found, o Options) Plan {
	m := &maker{Plan: Plan{Function: p.Function.Name, Steps: []Step{}, Refusals: []Refusal{}, Strays: []string{}, Notes: []string{}}, project: p, found: found, options: o}
	m.streams()
	m.function()
	m.triggers()
	return m.Plan
}

type maker struct {
	Plan
	project Project
	found   Found
	options Options
}

func (m *maker) step(s Step) { m.Steps = append(m.Steps, s) }

func (m *maker) streams() {
	for i := range m.project.Streams {
		want := &m.project.Streams[i]
		at := slices.IndexFunc(m.found.Streams, func(s Stream) bool { return s.Name == want.Name })
		if at < 0 {
			m.step(Step{Action: Create, Kind: OfStream, Name: want.Name, Changes: createdStream(want), Stream: want})
			continue
		}
		have := m.found.Streams[at]
		if want.RecordBytes > 0 && want.RecordBytes != have.RecordBytes {
			m.Notes = append(m.Notes, fmt.Sprintf("stream %s takes records of up to %s and %s says %s: the record size of a stream that exists cannot be changed, so it stays as it is",
				want.Name, bytes(int64(have.RecordBytes)), FileName, bytes(int64(want.RecordBytes))))
		}
		if changes := streamChanges(have, *want); len(changes) > 0 {
			m.step(Step{Action: Update, Kind: OfStream, Name: want.Name, Stream: want, Changes: changes})
		}
		switch mode := cmp.Or(want.Mode, have.Mode); {
		case want.Shards == 0 || want.Shards == have.Shards || want.Mode == stream.OnDemand:
		case mode == stream.OnDemand:
			m.Notes = append(m.Notes, fmt.Sprintf("stream %s is on-demand and has %s, and %s says %d: it splits and merges them by itself, so they stay as they are",
				want.Name, shards(have.Shards), FileName, want.Shards))
		default:
			m.step(Step{Action: Scale, Kind: OfStream, Name: want.Name, Stream: want,
				Changes: []Change{{Setting: "shards", From: strconv.Itoa(have.Shards), To: strconv.Itoa(want.Shards)}}})
		}
	}
}

func (m *maker) function() {
	want, have := &m.project.Function, m.found.Function
	if have == nil {
		m.step(Step{Action: Create, Kind: OfFunction, Name: want.Name, Function: want, Changes: createdFunction(want)})
		return
	}
	configure := func(from, to functions.Config) {
		if changes := FunctionChanges(from, to); len(changes) > 0 {
			f := *want
			f.Config = to
			m.step(Step{Action: Update, Kind: OfFunction, Name: want.Name, Function: &f, Changes: changes})
		}
	}
	if have.Digest == want.Digest {
		configure(have.Config, want.Config)
		return
	}
	// Settings before code, which may need them. But what the old code still
	// emits to, and dials, stays allowed until the new code is there.
	between := want.Config
	between.Emits = both(want.Config.Emits, have.Config.Emits, functions.MaxEmits)
	between.Allow = both(want.Config.Allow, have.Config.Allow, functions.MaxAllow)
	configure(have.Config, between)
	m.step(Step{Action: Code, Kind: OfFunction, Name: want.Name, Function: want, Changes: []Change{{Setting: "code", From: short(have.Digest), To: short(want.Digest)}}})
	configure(between, want.Config)
}

// both is what is wanted and what was had besides; where that is more than may be,
// what is wanted.
func both(want, have []string, most int) []string {
	all := slices.Clone(want)
	for _, s := range have {
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	if len(all) > most {
		return want
	}
	return all
}

func (m *maker) triggers() {
	name := m.project.Function.Name
	inFile := func(name string) bool {
		return slices.ContainsFunc(m.project.Triggers, func(t Trigger) bool { return t.Name == name })
	}
	find := func(name string) *Trigger {
		if i := slices.IndexFunc(m.found.Triggers, func(t Trigger) bool { return t.Name == name }); i >= 0 {
			return &m.found.Triggers[i]
		}
		return nil
	}
	var stray []Trigger
	for _, t := range m.found.Triggers {
		switch {
		case t.Config.Function != name || inFile(t.Name):
		case m.options.Prune:
			m.step(Step{Action: Delete, Kind: OfTrigger, Name: t.Name, Why: "not in " + FileName})
		default:
			stray = append(stray, t)
			m.Strays = append(m.Strays, t.Name)
		}
	}
	// Deletions first: a pair of stream and function may have one trigger only.
	var later []Step
	for i := range m.project.Triggers {
		want := &m.project.Triggers[i]
		have := find(want.Name)
		switch {
		case have == nil:
			later = append(later, m.create(want, stray)...)
		case have.Config.Function != name:
			m.refuse(Choice{Text: "give the trigger of this file another name: name = \"…\" below its [[trigger]]"},
				Choice{"or delete that one", "wasmill trigger rm " + want.Name},
				"trigger %s calls function %s, and is not this project's", want.Name, have.Config.Function)
		case m.moved(*want, *have) != "":
			why := m.moved(*want, *have)
			if !m.options.Replace {
				m.refuse(Choice{"replace it, which loses its checkpoint: it begins at " + want.From + " again", "wasmill deploy --replace"},
					Choice{Text: "or have " + FileName + " say what the trigger has"},
					"trigger %s: %s, and a trigger keeps its stream and the place it started at", want.Name, why)
				continue
			}
			m.step(Step{Action: Delete, Kind: OfTrigger, Name: want.Name, Why: "replaced: " + why})
			later = append(later, m.create(want, stray)...)
		default:
			later = append(later, m.update(want, *have)...)
		}
	}
	m.Steps = append(m.Steps, later...)
}

func (m *maker) refuse(first, second Choice, format string, args ...any) {
	m.Refusals = append(m.Refusals, Refusal{fmt.Sprintf(format, args...), []Choice{first, second}})
}

// moved says in what a trigger differs that no update can change.
func (m *maker) moved(want, have Trigger) string {
	if want.Config.Stream != have.Config.Stream {
		return fmt.Sprintf("it reads stream %s and %s says %s", have.Config.Stream, FileName, want.Config.Stream)
	}
	for _, s := range m.found.Streams {
		if s.Name == have.Config.Stream && s.Created.After(have.Created) {
			return fmt.Sprintf("the stream %s it reads was deleted, and the one there is now is another", s.Name)
		}
	}
	if !slices.ContainsFunc(m.found.Streams, func(s Stream) bool { return s.Name == have.Config.Stream }) {
		return fmt.Sprintf("the stream %s it reads was deleted", have.Config.Stream)
	}
	a, b := want.Config.Position, have.Config.Position
	switch {
	case have.Generation > 1: // moved on purpose since
		return ""
	case a.Kind == stream.AtTimestamp && b.Kind == stream.AtTimestamp && (strings.HasPrefix(want.From, "-") || a.Time.Equal(b.Time)):
		return "" // so long before now means when the trigger was made
	case a.Kind != b.Kind || a.Kind == stream.AtTimestamp:
		return fmt.Sprintf("it started at %s and %s says %s", fromText(b), FileName, want.From)
	}
	return ""
}

func (m *maker) create(want *Trigger, stray []Trigger) []Step {
	for _, t := range stray {
		if t.Config.Stream == want.Config.Stream && t.Config.Qualifier == "" {
			m.refuse(Choice{"delete it", "wasmill trigger rm " + t.Name}, Choice{"or have all triggers deleted that are not in the file", "wasmill deploy --prune"},
				"trigger %s calls %s with the records of stream %s already, and is not in %s; there can be one only", t.Name, m.project.Function.Name, want.Config.Stream, FileName)
			return nil
		}
	}
	return []Step{{Action: Create, Kind: OfTrigger, Name: want.Name, Trigger: want, Changes: createdTrigger(want)}}
}

func (m *maker) update(want *Trigger, have Trigger) (steps []Step) {
	if changes := triggerChanges(have.Config, want.Config); len(changes) > 0 {
		steps = append(steps, Step{Action: Update, Kind: OfTrigger, Name: want.Name, Trigger: want, Changes: changes})
	}
	paused := have.Paused != nil && *have.Paused
	switch {
	case want.Paused == nil && paused:
		m.Notes = append(m.Notes, fmt.Sprintf("trigger %s is paused, and stays so; let it go on with: wasmill trigger resume %s", want.Name, want.Name))
	case want.Paused == nil || *want.Paused == paused:
	case paused:
		steps = append(steps, Step{Action: Resume, Kind: OfTrigger, Name: want.Name, Trigger: want})
	default:
		steps = append(steps, Step{Action: Pause, Kind: OfTrigger, Name: want.Name, Trigger: want})
	}
	return steps
}

// Removal is the plan that takes a project off a server: its triggers and its
// function. Streams stay, with their records.
func Removal(p Project, found Found, o Options) Plan {
	m := &maker{Plan: Plan{Function: p.Function.Name, Steps: []Step{}, Refusals: []Refusal{}, Strays: []string{}, Notes: []string{}}, project: p, found: found, options: o}
	for _, t := range found.Triggers {
		inFile := slices.ContainsFunc(p.Triggers, func(w Trigger) bool { return w.Name == t.Name })
		switch {
		case t.Config.Function != p.Function.Name && inFile:
			m.Notes = append(m.Notes, fmt.Sprintf("trigger %s calls function %s and stays: it is not this project's", t.Name, t.Config.Function))
		case t.Config.Function != p.Function.Name:
		case inFile || o.Prune:
			m.step(Step{Action: Delete, Kind: OfTrigger, Name: t.Name})
		default:
			m.Strays = append(m.Strays, t.Name)
			m.refuse(Choice{"delete it", "wasmill trigger rm " + t.Name}, Choice{"or have all triggers deleted that call the function", "wasmill rm --prune"},
				"trigger %s calls function %s and is not in %s", t.Name, p.Function.Name, FileName)
		}
	}
	if found.Function != nil {
		m.step(Step{Action: Delete, Kind: OfFunction, Name: p.Function.Name})
	}
	return m.Plan
}

// environmentChanges tell names alone: a value may be a secret.
func environmentChanges(from, to map[string]string) (changes []Change) {
	names := map[string]bool{}
	for n := range from {
		names[n] = true
	}
	for n := range to {
		names[n] = true
	}
	for _, n := range slices.Sorted(maps.Keys(names)) {
		a, was := from[n]
		b, is := to[n]
		switch {
		case !was:
			changes = append(changes, Change{Setting: "env " + n, How: "added"})
		case !is:
			changes = append(changes, Change{Setting: "env " + n, How: "removed"})
		case a != b:
			changes = append(changes, Change{Setting: "env " + n, How: "changed"})
		}
	}
	return changes
}
