package build

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/runtime"
)

func TestDetectGoesByTheFiles(t *testing.T) {
	tests := []struct {
		name  string
		files string // with their content after a |
		want  Language
	}{
		{"a Go module", "go.mod main.go", LanguageGo},
		{"Go beats what stands beside it", "main.go helper.c package.json|{}", LanguageGo},
		{"Go in a folder further down", "cmd/handler/main.go README.md", LanguageGo},
		{"a crate", "Cargo.toml src/lib.rs", LanguageRust},
		{"a crate with npm's tools beside it", "Cargo.toml package.json|{} src/lib.rs", LanguageRust},
		{"one Rust file", "handler.rs", LanguageRust},
		{"C", "handler.c wasmill.h", LanguageC},
		{"C in src", "src/handler.c", LanguageC},
		{"AssemblyScript", "asconfig.json assembly/index.ts package.json|{}", LanguageAssemblyScript},
		{"AssemblyScript by its package", `package.json|{"devDependencies":{"assemblyscript":"*"}} index.ts`, LanguageAssemblyScript},
		{"JavaScript", "package.json|{} index.mjs", LanguageJavaScript},
		{"TypeScript is JavaScript with package.json", "package.json|{} index.ts", LanguageJavaScript},
		{"one file of JavaScript", "index.mjs", LanguageJavaScript},
		{"TypeScript alone is AssemblyScript", "index.ts", LanguageAssemblyScript},
		{"what npm fetched is nobody's source", "node_modules/x/main.go", ""},
		{"nothing", "README.md", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range strings.Fields(tt.files) {
				name, content, _ := strings.Cut(f, "|")
				write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
			}
			got, err := Detect(dir)
			if got != tt.want || (tt.want == "") != errors.Is(err, ErrProject) {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// toolCache keeps compilers from npm over tests and runs.
func toolCache(t testing.TB) string { return os.Getenv("WASMILL_BUILD_CACHE") }

// project builds a project in another language. Where the compiler is missing the
// test is skipped with what the build says to install, but never in CI.
func otherProject(t testing.TB, files map[string]string) ([]byte, Result, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	res, err := Project(t.Context(), Options{Dir: dir, Out: filepath.Join(t.TempDir(), "out.wasm"), CacheDir: toolCache(t)})
	if errors.Is(err, ErrToolchain) && os.Getenv("CI") == "" {
		t.Skipf("there is no compiler on this machine: %v", err)
	}
	if err != nil {
		return nil, res, err
	}
	code, err := os.ReadFile(res.Out)
	if err != nil {
		t.Fatal(err)
	}
	return code, res, nil
}

// javaScriptGuest starts a program of one file.
func javaScriptGuest(t testing.TB, program string, env map[string]string) (runtime.Environment, *lines) {
	t.Helper()
	code, _, err := otherProject(t, map[string]string{"index.mjs": program})
	if err != nil {
		t.Fatal(err)
	}
	e, l, err := environment(t, code, env)
	if err != nil {
		t.Fatal(err, l)
	}
	return e, l
}

func call(t testing.TB, e runtime.Environment, event string) runtime.Result {
	t.Helper()
	return e.Invoke(t.Context(), &runtime.Invocation{ID: "8f4a7c0e-1c9b-4a57-9f2e-0a5d3a4f6b11", Payload: []byte(event)})
}

func TestJavaScriptHandlers(t *testing.T) {
	e, l := javaScriptGuest(t, `
		import { setTimeout as sleep } from 'node:timers/promises';
		let calls = 0;
		const started = Date.now();
		await sleep(1); // of the top level: before the first call
		export const handler = async (event, context) => {
			calls++;
			switch (event.do) {
			case 'echo': return event.value;
			case 'nothing': return undefined;
			case 'count': return calls;
			case 'context': return { ...context, left: context.getRemainingTimeInMillis(), limit: process.env.LIMIT, waited: Date.now() >= started };
			case 'throw': { const e = new RangeError('too hot'); throw e; }
			case 'throw a text': throw 'no';
			case 'reject': return Promise.reject(Object.assign(new Error('later'), { name: 'Custom.Name' }));
			case 'sleep': { const at = performance.now(); await sleep(30); return performance.now() - at >= 29; }
			case 'never': return new Promise(() => {});
			case 'order': {
				const seen = [];
				await Promise.all([
					(async () => { await null; seen.push('promise'); })(),
					new Promise((ok) => setTimeout(() => { seen.push('timer 5'); ok(); }, 5)),
					new Promise((ok) => setTimeout(() => { seen.push('timer 1'); ok(); }, 1)),
					new Promise((ok) => queueMicrotask(() => { seen.push('microtask'); ok(); })),
				]);
				return seen;
			}
			case 'reject an object': return Promise.reject({ a: 1 });
			case 'fetch': return (await fetch('http://other:9200/')).status;
			case 'causes': throw new Error('outer', { cause: new Error('middle', { cause: 'inner' }) });
			case 'circle': { const o = {}; o.o = o; return o; }
			case 'deep': { const f = (n) => (n === 0 ? 0 : 1 + f(n - 1)); return f(1e7); }
			case 'memory': { const all = []; for (;;) all.push(new Uint8Array(1 << 20).fill(1)); }
			case 'timer throws': return new Promise(() => setTimeout(() => { throw new Error('in a timer'); }, 1));
			}
		};`, map[string]string{"LIMIT": "30"})
	tests := []struct {
		name, event, response, errorType, message string
	}{
		{"what it returns is the response", `{"do":"echo","value":{"a":[1,"ö",null,true,1.5e300]}}`, `{"a":[1,"ö",null,true,1.5e+300]}`, "", ""},
		{"nothing returned is no response", `{"do":"nothing"}`, ``, "", ""},
		{"an error has its class and message", `{"do":"throw"}`, ``, "RangeError", "too hot"},
		{"anything may be thrown", `{"do":"throw a text"}`, ``, "string", "no"},
		{"a rejected promise is an error", `{"do":"reject"}`, ``, "Custom.Name", "later"},
		{"a rejected object is its JSON", `{"do":"reject an object"}`, ``, "object", `{"a":1}`},
		{"a refused fetch says why", `{"do":"fetch"}`, ``, "TypeError", "fetch failed: functions cannot reach out here"},
		{"causes are told", `{"do":"causes"}`, ``, "Error", "outer: middle: inner"},
		{"timers are waited for", `{"do":"sleep"}`, `true`, "", ""},
		{"promises come before timers, and these by their time", `{"do":"order"}`, `["microtask","promise","timer 1","timer 5"]`, "", ""},
		{"a promise that nobody settles is an error, not a hang", `{"do":"never"}`, ``, "Runtime.NodeJsExit", "never settled"},
		{"what is no JSON is an error", `{"do":"circle"}`, ``, "Runtime.MarshalError", "circular"},
		{"endless recursion is an error", `{"do":"deep"}`, ``, "RangeError", "call stack"},
		{"memory that is used up is an error", `{"do":"memory"}`, ``, runtime.TypeOutOfMemory, "raise its memory"},
		{"an error in a timer is one of the call", `{"do":"timer throws"}`, ``, "Error", "in a timer"},
		{"state stays from call to call", `{"do":"count"}`, `16`, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := call(t, e, tt.event)
			if tt.name == tests[2].name && !strings.Contains(string(r.StackTrace), "index.mjs:13") {
				t.Errorf("the stack trace %s does not name index.mjs:13", r.StackTrace)
			}
			if tt.name == tests[2].name && !strings.Contains(l.String(), "ERROR\tInvoke Error \t"+`{"errorType":"RangeError","errorMessage":"too hot","stack":["RangeError: too hot","    at handler (index.mjs:13)"`) {
				t.Errorf("the log has no stack: %s", l)
			}
			if r.ErrorType != tt.errorType || !strings.Contains(r.ErrorMessage, tt.message) || string(r.Response) != tt.response && tt.event != `{"do":"order"}` {
				t.Errorf("%s %s: %s, response %s, want %s: %s, response %s; log: %s", r.Outcome, r.ErrorType, r.ErrorMessage, r.Response, tt.errorType, tt.message, tt.response, l)
			}
			if !e.Reusable() {
				t.Fatal("the environment is lost")
			}
		})
	}
	r := call(t, e, `{"do":"context"}`)
	for _, want := range []string{`"awsRequestId":"8f4a7c0e-1c9b-4a57-9f2e-0a5d3a4f6b11"`, `"functionName":"fn"`, `"functionVersion":"7"`, `"limit":"30"`, `"waited":true`, `"left":`} {
		if !strings.Contains(string(r.Response), want) {
			t.Errorf("the context %s has no %s", r.Response, want)
		}
	}
}

// TestJavaScriptShowsWhatNodeShows runs a program in Node as well and compares what
// it prints and returns: Buffer, console, text encoding, clones.
func TestJavaScriptShowsWhatNodeShows(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("node was not found: there is nothing to compare with")
	}
	program, err := os.ReadFile(filepath.Join("testdata", "javascript", "node.mjs"))
	if err != nil {
		t.Fatal(err)
	}
	e, l := javaScriptGuest(t, string(program), nil)
	r := call(t, e, `{}`)
	if r.Outcome != runtime.Done {
		t.Fatalf("%s %s %s %s", r.Outcome, r.ErrorType, r.ErrorMessage, r.StackTrace)
	}
	dir := t.TempDir()
	write2 := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write2("index.mjs", string(program))
	run := write2("run.mjs", "import { handler } from './index.mjs';\nawait handler({});\n")
	want, err := exec.CommandContext(t.Context(), node, run).Output()
	if err != nil {
		t.Fatal(err)
	}
	got, expected := strings.Split(l.String(), "\n"), strings.Split(strings.TrimRight(string(want), "\n"), "\n")
	for i, w := range expected {
		if i >= len(got) || strings.TrimRight(got[i], "\n") != w {
			g := "nothing"
			if i < len(got) {
				g = got[i]
			}
			t.Errorf("line %d: %s\n  Node: %s", i+1, g, w)
		}
	}
}

func TestJavaScriptThatCannotRun(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		kind  error
		text  string
	}{
		{"syntax", map[string]string{"index.mjs": "export const handler = (;"}, ErrCompile, "index.mjs:1:"},
		{"a module of Node", map[string]string{"index.mjs": "import fs from 'node:fs';\nexport const handler = () => fs;"}, ErrCompile, "\na function has no node:fs: of Node's modules"},
		{"no entry", map[string]string{"package.json": "{}", "a.js": "", "b.js": ""}, ErrProject, "main"},
		{"an entry that is not there", map[string]string{"package.json": `{"main":"dist/x.js"}`, "a.js": ""}, ErrProject, "dist/x.js"},
		{"dependencies that are not there", map[string]string{"package.json": `{"dependencies":{"left-pad":"1"}}`, "index.js": ""}, ErrProject, "run npm install"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := otherProject(t, tt.files)
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("%v, want %v with %q", err, tt.kind, tt.text)
			}
			if err != nil && strings.Contains(err.Error(), "node:internal") {
				t.Errorf("Node's own stack: %v", err)
			}
		})
	}
	starts := []struct{ name, program, text string }{
		{"no handler", "export const other = 1;", "exports no function named handler"},
		{"a throw at the top level", "const x = undefined;\nx.y;\nexport const handler = () => 1;", "cannot read property 'y' of undefined (index.mjs:2)"},
		{"a throw further down", "const f = () => { throw new Error('at\\nload'); };\nf();\nexport const handler = () => 1;", "Error: at load (index.mjs:1)"},
		{"a top level that never ends", "await new Promise(() => {});\nexport const handler = () => 1;", "never ends"},
		{"a handler that is none", "export const handler = 7;", "exports no function named handler"},
	}
	for _, tt := range starts {
		t.Run(tt.name, func(t *testing.T) {
			code, _, err := otherProject(t, map[string]string{"index.mjs": tt.program})
			if err != nil {
				t.Fatal(err)
			}
			_, l, err := environment(t, code, nil)
			if err == nil || !strings.Contains(err.Error(), tt.text) {
				t.Errorf("started with %v and %q, want %q", err, l, tt.text)
			}
		})
	}
}

func TestJavaScriptTakesCommonJSTypeScriptAndImports(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
	}{
		{"CommonJS", map[string]string{"index.js": "const { twice } = require('./lib/math.js');\nexports.handler = async (e) => twice(e);", "lib/math.js": "exports.twice = (x) => 2 * x;"}},
		{"ECMAScript", map[string]string{"index.js": "import { twice } from './lib/math.js';\nexport const handler = async (e) => twice(e);", "lib/math.js": "export const twice = (x) => 2 * x;"}},
		{"TypeScript", map[string]string{"package.json": "{}", "src/index.ts": "import { twice } from './math';\nexport const handler = async (e: number): Promise<number> => twice(e);",
			"src/math.ts": "export const twice = (x: number): number => 2 * x;"}},
		{"a package", map[string]string{"package.json": `{"dependencies":{"twice":"1"}}`, "index.mjs": "import twice from 'twice';\nexport const handler = (e) => twice(e);",
			"node_modules/twice/package.json": `{"name":"twice","main":"main.js"}`, "node_modules/twice/main.js": "module.exports = (x) => 2 * x;"}},
		{"a callback", map[string]string{"index.mjs": "export const handler = (e, context, callback) => { setTimeout(() => callback(null, 2 * e), 2); };"}},
		{"a default export", map[string]string{"index.mjs": "export default (e) => 2 * e;"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, res, err := otherProject(t, tt.files)
			if err != nil {
				t.Fatal(err)
			}
			if res.ABI != functions.ABIJSON || res.Language != LanguageJavaScript {
				t.Errorf("%+v", res)
			}
			e, l, err := environment(t, code, nil)
			if err != nil {
				t.Fatal(err, l)
			}
			if r := call(t, e, `21`); string(r.Response) != `42` {
				t.Errorf("%s %s %s: %s", r.Outcome, r.ErrorType, r.ErrorMessage, r.Response)
			}
		})
	}
}

// TestBuildsAreTheSameByteForByte: the same sources and compilers give the same module.
func TestBuildsAreTheSameByteForByte(t *testing.T) {
	for _, files := range []map[string]string{
		{"index.mjs": "export const handler = () => new Error('x').stack;"},
		{"f.c": "__attribute__((export_name(\"wm_json\"))) long long f(int n) { return (long long)__FILE__[0] + n; }"},
		{"lib.rs": "#[no_mangle] pub extern \"C\" fn wm_json(n: u32) -> u64 { if n == 7 { panic!(\"seven\") } 0 }"},
	} {
		a, _, err := otherProject(t, files)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := otherProject(t, files)
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("two builds of %v differ", files)
		}
	}
}

func TestMissingCompilersAreNamedWithWhatToInstall(t *testing.T) {
	empty := t.TempDir()
	tests := []struct {
		language Language
		files    map[string]string
		words    []string
	}{
		{LanguageC, map[string]string{"f.c": ""}, []string{"clang was not found", "apt-get install clang lld wasi-libc"}},
		{LanguageJavaScript, map[string]string{"index.mjs": ""}, []string{"npm was not found", "quickjs-wasi", "install Node.js"}},
		{LanguageAssemblyScript, map[string]string{"index.ts": ""}, []string{"npm was not found", "assemblyscript"}},
	}
	for _, tt := range tests {
		t.Run(string(tt.language), func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range tt.files {
				write(t, filepath.Join(dir, name), content)
			}
			t.Setenv("PATH", empty)
			t.Setenv("WASI_SDK_PATH", "")
			res, err := Project(t.Context(), Options{Dir: dir, Out: filepath.Join(empty, "x.wasm"), CacheDir: t.TempDir()})
			if !errors.Is(err, ErrToolchain) || res.Language != tt.language {
				t.Fatalf("%v", err)
			}
			for _, w := range tt.words {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%v says nothing of %q", err, w)
				}
			}
		})
	}
}

// TestRustcWithoutWASIIsPassedOver: the first one in PATH may be rustup's without
// the target; one that has it is used, and where none has the error says how to get it.
func TestRustcWithoutWASIIsPassedOver(t *testing.T) {
	found, err := findRust(t.Context())
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("there is no rustc for WASI on this machine: %v", err)
	}
	bare := t.TempDir()
	script := "#!/bin/sh\necho /nowhere\n"
	if err := os.WriteFile(filepath.Join(bare, "rustc"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bare+string(filepath.ListSeparator)+os.Getenv("PATH"))
	again, err := findRust(t.Context())
	if err != nil || again != found {
		t.Errorf("%v, %v, want %v", again, err, found)
	}
	if _, err := os.Stat("/usr/bin/rustc"); err == nil {
		return // that one is looked at whatever PATH says
	}
	t.Setenv("PATH", bare)
	if _, err := findRust(t.Context()); !errors.Is(err, ErrToolchain) || !strings.Contains(err.Error(), "rustup target add wasm32-wasip1") {
		t.Error(err)
	}
}

// TestAMissingLinkerIsNamedWithWhatToInstall: rustc alone is not enough, and says so
// only when it has compiled.
func TestAMissingLinkerIsNamedWithWhatToInstall(t *testing.T) {
	for linker, want := range map[string]string{"rust-lld": "apt-get install lld", "cc": "apt-get install gcc"} {
		bin, library := t.TempDir(), t.TempDir()
		write(t, filepath.Join(library, "libstd-1.rlib"), "")
		script := "#!/bin/sh\ncase \"$*\" in *--print=target-libdir) echo '" + library + "';; --version) echo rustc 1.90.0;; " +
			"*) echo 'error: linker `" + linker + "` not found' >&2; exit 1;; esac\n"
		if err := os.WriteFile(filepath.Join(bin, "rustc"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
		dir := t.TempDir()
		write(t, filepath.Join(dir, "lib.rs"), "")
		_, err := Project(t.Context(), Options{Dir: dir, Out: filepath.Join(bin, "x.wasm"), CacheDir: t.TempDir()})
		if !errors.Is(err, ErrToolchain) || !strings.Contains(err.Error(), "rustc 1.90.0 found no linker "+linker) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestCompileErrorsAreTheCompilers(t *testing.T) {
	for name, tt := range map[string]struct{ file, text, want string }{
		"c":              {"f.c", "int f( {", "f.c:1:"},
		"rust":           {"lib.rs", "fn f( {", "lib.rs:1:"},
		"assemblyscript": {"index.ts", "export function f(: void {}", "index.ts"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := otherProject(t, map[string]string{tt.file: tt.text})
			if !errors.Is(err, ErrCompile) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
}

func TestABuildThatIsInterruptedSaysSo(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "f.c"), "int x;")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Project(ctx, Options{Dir: dir, Out: filepath.Join(dir, "x.wasm")}); !errors.Is(err, context.Canceled) && !errors.Is(err, ErrToolchain) {
		t.Error(err)
	}
}
