// Package arch holds no code: its test keeps the floor plan true.
package arch

import (
	"bytes"
	"encoding/json"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/wasmill/wasmill/"

// floors says on which floor each package stands. A package imports lower
// floors; on its own floor only what beside names. A new package needs a
// second user or a floor of its own, so it has to be entered here.
var floors = map[string]int{
	// 0 words: types and errors, on the standard library alone
	"stream": 0, "functions": 0, "functions/emit": 0, "functions/archive": 0, "runtime": 0, "triggers": 0, "dlq": 0, "internal/history": 0,
	// 1 matter: what touches disk, NATS or WASM
	"internal/natsd": 1, "internal/log": 1, "internal/kv": 1, "stream/natsstream": 1, "triggers/journal": 1,
	"dlq/store": 1, "internal/ledger": 1,
	"functions/store": 1, "functions/logs": 1, "internal/s3": 1, "runtime/wasm": 1, "runtime/module": 1, "runtime/door": 1, "runtime/sandbox": 1,
	// 2 rules: pure
	"triggers/shard": 2, "triggers/batch": 2, "triggers/filter": 2, "scaler": 2, "internal/project": 2,
	// 3 engine
	"triggers/poll": 3, "triggers/destination": 3, "stream/ondemand": 3, "runtime/pool": 3, "triggers/relay": 3, "dlq/morgue": 3, "functions/build": 3, "functions/build/quickjs": 2, "samples": 2, "telemetry": 3,
	// 4 face
	"api/admin": 4, "api/wire": 4, "api/kinesis": 4, "api/lambda": 4, "api/iam": 4, "api/logs": 4, "api/cloudwatch": 4,
	// 5 wiring
	"server": 5,
	// 6 street
	"cmd/wasmill": 6, "samples/demo": 6, "bench": 6, "internal/arch": 6,
	// helpers of tests, named for whom they help
	"internal/natsd/natsdtest": 1, "runtime/wasm/wasmtest": 1,
}

// beside lists the imports allowed within a floor, with the reason.
var beside = map[string]string{
	"runtime -> functions":                       "an invocation names the version it runs",
	"triggers -> stream":                         "a mapping starts at a position of a stream",
	"internal/natsd/natsdtest -> internal/natsd": "it starts one for tests",
	"internal/kv -> internal/natsd":              "definitions live in JetStream",
	"internal/log -> internal/natsd":             "frames live in JetStream",
	"stream/natsstream -> internal/log":          "a shard is a log",
	"stream/natsstream -> internal/natsd":        "it asks what storage there is",
	"stream/natsstream -> internal/kv":           "the catalogue",
	"internal/ledger -> internal/natsd":          "entries are messages",
	"triggers/journal -> internal/ledger":        "commits are fenced entries",
	"dlq/store -> internal/ledger":               "so are dead letters",
	"dlq/store -> internal/natsd":                "it asks what storage there is",
	"triggers/journal -> internal/natsd":         "commits are messages",
	"functions/store -> internal/natsd":          "code is messages",
	"functions/store -> internal/kv":             "the registry",
	"runtime/wasm -> runtime/module":             "what it compiles is rewritten first",
	"runtime/wasm -> runtime/door":               "a guest's descriptors are the door's",
	"runtime/sandbox -> runtime/wasm":            "the engine runs in the child",
	"runtime/sandbox -> runtime/module":          "its version is part of the cache's key",
	"triggers/shard -> triggers/batch":           "windows and halves are shared with queues",
	"triggers/relay -> dlq/morgue":               "the relay fills the morgue",
	"triggers/poll -> triggers/relay":            "a mapping drained means its dead letters are visible",
	"triggers/poll -> dlq/morgue":                "as above",
	"api/kinesis -> api/wire":                    "services stand on the wire's protocols",
	"api/lambda -> api/wire":                     "as above",
	"api/iam -> api/wire":                        "as above",
	"api/logs -> api/wire":                       "as above",
	"api/cloudwatch -> api/wire":                 "as above",
	"functions/archive -> functions":             "what it takes apart is a function's code",
	"triggers/poll -> triggers/destination":      "the notice of a discarded batch is worded where it is sent",
	"triggers/relay -> triggers/destination":     "as above",
	"api/admin -> api/wire":                      "faults are told to it by the command line",
}

// sealed are packages that must not reach a module, however far down, and why.
var sealed = []struct{ pkg, module, why string }{
	{"triggers/shard", "github.com/nats-io/", "the rules of a shard are pure: values in, decisions out"},
	{"triggers/shard", "github.com/tetratelabs/", "as above"},
	{"triggers/batch", "github.com/nats-io/", "as above"},
	{"triggers/filter", "github.com/nats-io/", "as above"},
	{"scaler", "github.com/nats-io/", "as above"},
	{"runtime/wasm", "github.com/nats-io/", "the engine knows no store"},
	{"runtime/sandbox", "github.com/nats-io/", "as above"},
	{"runtime/pool", "github.com/nats-io/", "as above"},
	{"runtime/module", "github.com/tetratelabs/", "bytes in, bytes out: what judges hostile code runs none of it"},
	{"runtime/door", "github.com/tetratelabs/", "the way out knows no engine"},
}

// noNATS are packages that may stand on floor 1 but never name NATS themselves.
var noNATS = []string{"api/", "triggers/poll", "runtime", "server", "cmd/"}

type pkg struct {
	ImportPath                string
	Imports, Deps             []string
	TestImports, XTestImports []string
	Standard                  bool
}

func packages(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps,TestImports,XTestImports", "./...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestFloors(t *testing.T) {
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		floor, ok := floors[name]
		if !ok {
			t.Errorf("%s stands on no floor: enter it in floors, or put it into a package that is there", name)
			continue
		}
		for _, imp := range p.Imports {
			ours, isOurs := strings.CutPrefix(imp, module)
			switch {
			case isOurs && floors[ours] < floor:
			case isOurs && beside[name+" -> "+ours] != "":
			case isOurs:
				t.Errorf("%s (floor %d) imports %s (floor %d): only lower floors, or enter it in beside with a reason", name, floor, ours, floors[ours])
			case floor == 0 && strings.Contains(strings.Split(imp, "/")[0], "."):
				t.Errorf("%s is a package of words and imports %s: only the standard library", name, imp)
			}
		}
		for _, s := range sealed {
			if s.pkg == name && slices.ContainsFunc(p.Deps, func(d string) bool { return strings.HasPrefix(d, s.module) }) {
				t.Errorf("%s reaches %s: %s", name, s.module, s.why)
			}
		}
		for _, n := range noNATS {
			if strings.HasPrefix(name, n) && slices.ContainsFunc(p.Imports, func(d string) bool { return strings.HasPrefix(d, "github.com/nats-io/") }) {
				t.Errorf("%s names NATS: only floor 1 does", name)
			}
		}
		// AWS SDKs for Go drive us in tests; they are never part of the binary.
		if slices.ContainsFunc(p.Deps, func(d string) bool { return strings.HasPrefix(d, "github.com/aws/") }) {
			t.Errorf("%s reaches an AWS SDK: those are test clients only", name)
		}
	}
}

// TestPackagesSayWhatTheyAre asks every package for a doc comment.
func TestPackagesSayWhatTheyAre(t *testing.T) {
	for name := range floors {
		dir := filepath.Join(root(t), filepath.FromSlash(name))
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // a package of a later step; TestFloors asks the other way round
		}
		var said bool
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, e.Name()), nil, parser.PackageClauseOnly|parser.ParseComments)
			if err != nil {
				t.Error(err)
				continue
			}
			said = said || f.Doc != nil
		}
		if !said {
			t.Errorf("%s has no package comment", name)
		}
	}
}

// TestModule keeps go.mod free of what a user could not build.
func TestModule(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root(t), "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "replace") {
			t.Errorf("go.mod: %s: a replace holds for nobody who imports us", strings.TrimSpace(line))
		}
	}
}
