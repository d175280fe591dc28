package server

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/functions/build"
)

// TestFunctionsMayNotUseTheCommandLinesAPI though they may always dial the server:
// whoever may use it may rewrite any function's allow list.
func TestFunctionsMayNotUseTheCommandLinesAPI(t *testing.T) {
	s := start(t, Config{Memory: true, AllowReset: true})
	c := client(t, s)
	out := filepath.Join(t.TempDir(), "caller.wasm")
	if _, err := build.Go(t.Context(), build.Options{Dir: "testdata/caller", Out: out}); err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.TrimPrefix(s.Endpoint(), "http://")
	// Naming the endpoint in the list opens no more of it.
	if _, _, err := c.CreateFunction(t.Context(), "caller", code, admin.FunctionSpec{Allow: &[]string{at}}, nil); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ method, path, body, want string }{
		{"GET", "/_wasmill/health", "", "200 "},
		{"GET", admin.Prefix + "/functions", "", "403 "},
		{"PATCH", admin.Prefix + "/functions/caller/config", `{"allow":["*:*"]}`, "403 "},
		{"POST", admin.Prefix + "/shutdown", "", "403 "},
		{"POST", "/_wasmill/reset", "", "403 "},
		{"GET", "/_wasmill/metrics", "", "403 "},
		{"GET", "/", "", "403 "},
	} {
		payload, err := json.Marshal(map[string]string{"Method": tt.method, "Path": tt.path, "Body": tt.body})
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Invoke(t.Context(), "caller", "", payload)
		if err != nil {
			t.Fatal(err)
		}
		var answer string
		if err := json.Unmarshal(got.Response, &answer); err != nil || !strings.HasPrefix(answer, tt.want) || tt.want == "403 " && !strings.Contains(answer, admin.CodeForPeople) {
			t.Errorf("%s %s: %q, want %s: %+v", tt.method, tt.path, answer, tt.want, got)
		}
	}
	if f, err := c.Function(t.Context(), "caller", ""); err != nil || len(f.Allow) != 1 {
		t.Errorf("the function is now %+v, %v", f, err)
	}
}
