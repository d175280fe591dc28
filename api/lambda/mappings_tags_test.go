package lambda

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

func (m *mill) tags(id string) map[string]string {
	m.t.Helper()
	out, err := m.ListTags(m.t.Context(), &sdk.ListTagsInput{Resource: aws.String(mappingARNOf(id))})
	if err != nil {
		m.t.Fatal(err)
	}
	return out.Tags
}

func mappingARNOf(id string) string {
	return "arn:aws:lambda:us-east-1:000000000000:event-source-mapping:" + id
}

func TestTagsOfMappings(t *testing.T) {
	m, ctx := newMill(t), t.Context()
	id := m.create(`"Tags":{"team":"geo","wasmill:name":"quakes","wasmill:retry-backoff":"1000ms","wasmill:skip-corrupt":"false"}`).id()
	want := map[string]string{"team": "geo", "wasmill:name": "quakes", "wasmill:retry-backoff": "1000ms", "wasmill:skip-corrupt": "false"}
	check := func(rule string) {
		t.Helper()
		if got := m.tags(id); !maps.Equal(got, want) {
			t.Errorf("%s: tags %v, want %v", rule, got, want)
		}
	}
	check("tags are shown as they were written")
	tag := func(tags map[string]string) error {
		_, err := m.TagResource(ctx, &sdk.TagResourceInput{Resource: aws.String(mappingARNOf(id)), Tags: tags})
		maps.Copy(want, tags)
		return err
	}
	untag := func(keys ...string) error {
		_, err := m.UntagResource(ctx, &sdk.UntagResourceInput{Resource: aws.String(mappingARNOf(id)), TagKeys: keys})
		for _, key := range keys {
			delete(want, key)
		}
		return err
	}
	for _, err := range []error{tag(map[string]string{"team": "sea", "stage": "x", "wasmill:deaggregate": "true", "wasmill:on-destination-failure": "drop", "wasmill:name": "quakes"}), untag("stage", "wasmill:retry-backoff", "never")} {
		if err != nil {
			t.Fatal(err)
		}
	}
	check("tags are added and removed")
	c := m.config(id)
	if !c.Deaggregate || c.OnDestinationFailure != "drop" || c.Backoff.String() != "500ms" {
		t.Errorf("tags made of the settings: %+v", c)
	}
	if err := untag("wasmill:deaggregate", "wasmill:on-destination-failure"); err != nil {
		t.Fatal(err)
	}
	if c := m.config(id); c.Deaggregate || c.OnDestinationFailure != "" {
		t.Errorf("without tags: %+v", c)
	}
	check("without the tag the setting is as usual")
}

func TestWrongTagsOfMappings(t *testing.T) {
	m := newMill(t)
	id := m.create(`"FunctionName":"g","Tags":{"wasmill:name":"mine"},` + filterOf(`{"data":{"a":[{"wildcard":"x*"}]}}`)).id()
	for _, tt := range []struct{ rule, tags, says string }{
		{"an unknown setting", `{"wasmill:speed":"1"}`, "Tag wasmill:speed: wasmill has no such setting of mappings: want one of wasmill:name, wasmill:retry-backoff,"},
		{"no duration", `{"wasmill:retry-backoff":"soon"}`, `Tag wasmill:retry-backoff: value "soon": want a duration from 1ms to 1m0s.`},
		{"too long a duration", `{"wasmill:retry-backoff":"61s"}`, `want a duration from 1ms to 1m0s.`},
		{"neither true nor false", `{"wasmill:skip-corrupt":"yes"}`, `Tag wasmill:skip-corrupt: value "yes": want true or false.`},
		{"neither retry nor drop", `{"wasmill:on-destination-failure":"wait"}`, `want retry or drop.`},
		{"a strict filter that is none", `{"wasmill:strict-filters":"true"}`, "Invalid filter pattern definition."},
		{"AWS's own", `{"aws:cloudformation:stack-name":"s"}`, "aws:"},
		{"a long value", `{"k":"` + strings.Repeat("x", 257) + `"}`, "256"},
	} {
		for _, a := range []mappingAnswer{
			m.send("", http.MethodPost, mappingsPath, mappingBody(`"Tags":`+tt.tags+`,`+filterOf(`{"data":{"a":[{"wildcard":"x*"}]}}`))),
			m.send("", http.MethodPost, "/2017-03-31/tags/"+mappingARNOf(id), `{"Tags":`+tt.tags+`}`),
		} {
			if a.status != http.StatusBadRequest || a.code != codeInvalid || !strings.Contains(a.body, jsonText(tt.says)) {
				t.Errorf("%s: %d %s %s, want %s", tt.rule, a.status, a.code, a.body, tt.says)
			}
		}
	}
	for _, tt := range []struct{ rule, tags, says string }{
		{"another name", `{"wasmill:name":"yours"}`, "Tag wasmill:name: the name of a mapping cannot be changed."},
	} {
		if a := m.send("", http.MethodPost, "/2017-03-31/tags/"+mappingARNOf(id), `{"Tags":`+tt.tags+`}`); a.status != http.StatusBadRequest || !strings.Contains(a.body, tt.says) {
			t.Errorf("%s: %d %s", tt.rule, a.status, a.body)
		}
	}
	if a := m.send("", http.MethodPost, mappingsPath, mappingBody(`"Tags":{"wasmill:name":"-x"}`)); a.code != codeInvalid || !strings.Contains(a.body, "Tag wasmill:name: ") {
		t.Errorf("a name that is none: %d %s", a.status, a.body)
	}
	if a := m.send("", http.MethodPost, mappingsPath, mappingBody(`"Tags":{"wasmill:name":"mine"}`)); a.status != http.StatusConflict || a.code != codeConflict || !strings.Contains(a.body, "A trigger named mine exists already") {
		t.Errorf("a name that is taken: %d %s", a.status, a.body)
	}
	if got := m.tags(id); !maps.Equal(got, map[string]string{"wasmill:name": "mine"}) {
		t.Errorf("refused tags left %v", got)
	}
}

func TestMappingsWithoutANameAreCalledByFunctionAndStream(t *testing.T) {
	m := newMill(t)
	name := func(r shownMapping) string { return m.named(r.id()) }
	if got := name(m.create(``)); got != "f-s" {
		t.Errorf("the first is called %s", got)
	}
	if got := name(m.create(`"FunctionName":"f:live"`)); got != "f-s-2" {
		t.Errorf("the second is called %s", got)
	}
	taken := map[string]bool{}
	for range 12 {
		long := freeName(strings.Repeat("f", 64), strings.Repeat("s", 128), taken)
		if taken[long] || len(long) > 64 {
			t.Errorf("name %s", long)
		}
		taken[long] = true
	}
	for _, tt := range [][3]string{{"-f", "s", "f-s"}, {"_", ".", "mapping"}} {
		if got := freeName(tt[0], tt[1], nil); got != tt[2] {
			t.Errorf("%s and %s: %s, want %s", tt[0], tt[1], got, tt[2])
		}
	}
}

// A trigger of the command line is a mapping too, and what AWS's API has no parameter for is
// among its tags. A change over the wire leaves it.
func TestTriggersOfTheCommandLineAreMappings(t *testing.T) {
	m := newMill(t)
	made, err := m.manager.Create(t.Context(), "orders", triggers.Config{Function: "f", Stream: "s", Position: stream.Position{Kind: stream.Latest}, Backoff: 2 * time.Second, SkipCorrupt: true, Window: 1500 * time.Millisecond}, true)
	if err != nil {
		t.Fatal(err)
	}
	if r := m.get(made.ID); r["FunctionArn"] != functionF || r["EventSourceArn"] != streamARN || r["MaximumBatchingWindowInSeconds"] != 2.0 || r["State"] != "Enabled" {
		t.Errorf("shown as %v", r)
	}
	m.update(made.ID, `"BatchSize":9`)
	if c := m.config(made.ID); c.BatchSize != 9 || c.Window != 1500*time.Millisecond || c.Backoff != 2*time.Second || !c.SkipCorrupt {
		t.Errorf("an update over the wire made of it %+v", c)
	}
	want := map[string]string{"wasmill:name": "orders", "wasmill:retry-backoff": "2s", "wasmill:skip-corrupt": "true"}
	if got := m.tags(made.ID); !maps.Equal(got, want) {
		t.Errorf("tags %v, want %v", got, want)
	}
	if _, err := m.TagResource(t.Context(), &sdk.TagResourceInput{Resource: aws.String(mappingARNOf(made.ID)), Tags: map[string]string{"wasmill:retry-backoff": "3000ms"}}); err != nil {
		t.Fatal(err)
	}
	want["wasmill:retry-backoff"] = "3000ms"
	if got := m.tags(made.ID); !maps.Equal(got, want) {
		t.Errorf("tags %v, want %v", got, want)
	}
	if _, err := m.manager.Update(t.Context(), "orders", func(c *triggers.Config) { c.Backoff, c.Function = 4*time.Second, "g" }); err != nil {
		t.Fatal(err)
	}
	want["wasmill:retry-backoff"] = "4s" // the tag would say what is not so any more
	if got := m.tags(made.ID); !maps.Equal(got, want) {
		t.Errorf("tags %v, want %v", got, want)
	}
	if r := m.get(made.ID); r["FunctionArn"] != "arn:aws:lambda:us-east-1:000000000000:function:g" {
		t.Errorf("function %v", r["FunctionArn"])
	}
}
