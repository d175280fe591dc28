package lambda

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/wire"
)

var write = flag.Bool("write", false, "write docs/compat/lambda.md anew")

const compatPage = "../../docs/compat/lambda.md"

// never is what is refused whatever it says, by member: with its sentence, as the tests of
// refusals show.
var never = []string{"ImageUri", "ImageConfig", "CapacityProviderConfig", "PublishTo", "DurableConfig", "TenancyConfig", "DurableExecutionName", "TenantId", "CodeSigningConfigArn"}

// absent are reads that are always answered with 404.
var absent = map[string]bool{"GetFunctionUrlConfig": true, "GetProvisionedConcurrencyConfig": true}

// partly is what does not do all that it does on AWS, by member.
var partly = map[string]string{
	"Runtime":                "one of AWS's; stored and shown, for what runs is the module",
	"Handler":                "stored and shown",
	"Role":                   "stored and shown",
	"Code.SourceKMSKeyArn":   "taken and forgotten",
	"SourceKMSKeyArn":        "taken and forgotten",
	"KMSKeyArn":              "stored and shown",
	"VpcConfig":              "stored and shown; VpcId is empty",
	"DeadLetterConfig":       "stored and shown: no event waits yet",
	"TracingConfig":          "stored and shown",
	"EphemeralStorage":       "stored and shown: functions have no files",
	"SnapStart":              "stored and shown",
	"Architectures":          "stored and shown",
	"LoggingConfig":          "stored and shown; logs are text, in /aws/lambda/NAME",
	"Layers":                 "only an empty list",
	"FileSystemConfigs":      "only an empty list",
	"PackageType":            "Zip",
	"InvocationType":         "RequestResponse and DryRun; Event is refused",
	"ClientContext":          "checked, not handed on",
	"MasterRegion":           "checked, and nothing else",
	"CompatibleRuntime":      "checked: there are no layers",
	"CompatibleArchitecture": "checked: there are no layers",
}

// notes say of an operation what its members do not.
var notes = map[string]string{
	"AddPermission":                     "Policies are stored and shown, and not evaluated.",
	"CreateFunction":                    "ZipFile is a zip that holds one .wasm, or a bootstrap that is one; or the .wasm itself. 50 MB, 256 MB unpacked. Pending while it is compiled; code that cannot run ends as Failed, with the reason.",
	"GetFunction":                       "Code.Location is a URL of this server, by the name by which it was called; its zip holds the same module, and is not byte for byte what was uploaded. CodeSha256 and CodeSize are those of what was uploaded: the zip, or the .wasm if that came by itself.",
	"GetFunctionCodeSigningConfig":      "There never is one.",
	"GetFunctionUrlConfig":              "There never is one: 404.",
	"GetProvisionedConcurrencyConfig":   "There never is one: 404.",
	"GetRuntimeManagementConfig":        "Always Auto.",
	"Invoke":                            "6 MB each way. Errors of functions have AWS's bodies and headers.",
	"ListCodeSigningConfigs":            "Always empty.",
	"ListFunctionUrlConfigs":            "Always empty.",
	"ListFunctions":                     "The same functions for every account and region, with ARNs of the caller's.",
	"ListLayers":                        "Always empty.",
	"ListProvisionedConcurrencyConfigs": "Always empty.",
	"PutFunctionConcurrency":            "Of 1,000 in all, 100 stay for functions that reserve nothing.",
	"PutFunctionEventInvokeConfig":      "Stored and shown: there are no asynchronous invocations yet.",
	"PutFunctionRecursionConfig":        "Stored and shown.",
	"TagResource":                       "Tags that begin with wasmill: set what AWS has no parameter for.",
	"UpdateFunctionCode":                "The old code runs until the new one is compiled, and on if it cannot be.",
}

// rivals is the public record of others of what lies beyond answering, at the commits that
// docs/compat/esm.md names.
const rivals = `
| | here | LocalStack | Floci | MiniStack | yulin |
|---|---|---|---|---|---|
| what runs | WebAssembly, compiled ahead: Go, Rust, JavaScript, TypeScript, C | AWS's runtimes | AWS's runtimes | AWS's runtimes | handlers of a Node test |
| what that needs | nothing | Docker | Docker | Docker, or its local executor | Node |
| an environment starts in less than 10 ms | yes | no | no | no | it is in the process |
| limits of memory and time hold | yes | yes | partly | partly | ? |
| versions, aliases, weights | yes | yes | yes | yes | ? |
| what was acknowledged outlives kill -9 | yes | no | in its mode wal | no: saved at shutdown | no |
| for clients in any language | yes | yes | yes | yes | no: a library |
`

// compatibility writes what works, partly works and does not.
func compatibility() string {
	var b strings.Builder
	b.WriteString(`# Lambda

Generated from the tests of api/lambda by ` + "`go generate ./api/lambda`" + `; do not edit. What is said to work has been called with success by them: each
operation and each of its parameters. Names, constraints and errors are those of botocore 1.43.11 (2015-03-31); texts of errors AWS's own where they have been recorded.
Event source mappings have [a page of their own](esm.md).

- Functions are one set. Every account and region sees it as its own, with its own ARNs; ARNs of another account are refused with AccessDeniedException, for no policy is
  evaluated, those of another region with ResourceNotFoundException.
- A request without any credentials is served too: curl can deploy and invoke.
- What AWS has no parameter for is set by tags of the function, and shown as tags: `)
	for i, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range taggedSettings {
			if !yield(name) {
				return
			}
		}
	}) {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "`%s` (%s)", name, taggedSettings[name].want)
	}
	b.WriteString(".\n\n| operation | | parameters that work | partly | never | note |\n|---|---|---|---|---|---|\n")
	refused := map[string]bool{}
	for _, op := range refusedOps() {
		refused[op.Name] = true
	}
	ops := New(Deps{}).Ops
	slices.SortFunc(ops, func(a, b *wire.Operation) int { return strings.Compare(a.Name, b.Name) })
	for _, op := range ops {
		if strings.Contains(op.Name, "EventSourceMapping") || refused[op.Name] {
			continue
		}
		var works, partial, no []string
		for _, m := range members(op) {
			switch why := partly[m.Name]; {
			case slices.Contains(never, strings.TrimPrefix(m.Name, "Code.")):
				no = append(no, m.Name)
			case why != "":
				partial = append(partial, m.Name+": "+why)
			default:
				works = append(works, m.Name)
			}
		}
		state := "works"
		if len(partial)+len(no) > 0 {
			state = "partly"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", op.Name, state, strings.Join(works, ", "), strings.Join(partial, "<br>"), strings.Join(no, ", "), notes[op.Name])
	}
	b.WriteString("\nThe rest is refused by name, with an InvalidParameterValueException that says why:\n\n| operations | |\n|---|---|\n")
	for _, r := range refusals {
		var names []string
		for line := range strings.Lines(strings.TrimSpace(r.ops)) {
			names = append(names, strings.Fields(line)[0])
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(names, ", "), r.text)
	}
	b.WriteString("\nBeyond answering, the public record of others that run functions (docs and code of 2026; tell us where it has changed):\n" + rivals)
	return b.String()
}

// members are an operation's, those of Code one by one.
func members(op *wire.Operation) (out []wire.Member) {
	if op.Input == nil {
		return nil
	}
	for _, m := range op.Input.Members {
		if m.Name != "Code" {
			out = append(out, m)
			continue
		}
		for _, in := range m.Shape.Members {
			in.Name = "Code." + in.Name
			out = append(out, in)
		}
	}
	return out
}

func TestCompatibilityPageIsUpToDate(t *testing.T) {
	want := compatibility()
	if *write {
		if err := os.WriteFile(compatPage, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(compatPage)
	if err != nil || strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Errorf("%s is not what the tests say (%v): run go generate ./api/lambda", compatPage, err)
	}
}

// TestMain checks at the end of a whole run that all that the page says to work was
// called with success.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if code == 0 && whole {
		for _, missing := range uncovered() {
			fmt.Printf("%s is said to work, and no test called it with success\n", missing)
			code = 1
		}
	}
	os.Exit(code)
}

// uncovered are the operations and members that no call with success had.
func uncovered() (missing []string) {
	refused := map[string]bool{}
	for _, op := range refusedOps() {
		refused[op.Name] = true
	}
	for _, op := range New(Deps{}).Ops {
		if refused[op.Name] {
			continue
		}
		if absent[op.Name] {
			continue
		}
		if _, ok := covered.Load(op.Name); !ok {
			missing = append(missing, op.Name)
		}
		if strings.Contains(op.Name, "EventSourceMapping") {
			continue // what works of their members is on their own page
		}
		for _, m := range members(op) {
			if _, ok := covered.Load(op.Name + "." + m.Name); !ok && !slices.Contains(never, strings.TrimPrefix(m.Name, "Code.")) {
				missing = append(missing, op.Name+"."+m.Name)
			}
		}
	}
	return missing
}
