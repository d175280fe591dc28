package lambda

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/wasmill/wasmill/api/wire"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// mappingStates are what a mapping passes through (esm.md 2).
var mappingStates = []struct {
	rule    string
	call    string // "create" or "update", with members behind a blank
	answers string // the state that the answer shows
	then    string // the state that a get shows from then on
}{
	{"create disabled", `create "Enabled":false`, "Disabled", "Disabled"},
	{"create enabled", `create "Enabled":true`, "Creating", "Enabled"},
	{"enabled is what a mapping is if nobody says so", `create "Enabled":"-"`, "Creating", "Enabled"},
	{"disable", `update "Enabled":false`, "Disabling", "Disabled"},
	{"disable again", `update "Enabled":false`, "Updating", "Disabled"},
	{"change one that is disabled", `update "BatchSize":9`, "Updating", "Disabled"},
	{"enable", `update "Enabled":true`, "Enabling", "Enabled"},
	{"enable again", `update "Enabled":true`, "Updating", "Enabled"},
	{"change one that is enabled", `update "BatchSize":10`, "Updating", "Enabled"},
	{"change one and disable it", `update "BatchSize":11,"Enabled":false`, "Disabling", "Disabled"},
	{"change one and enable it", `update "FunctionName":"g","Enabled":true`, "Enabling", "Enabled"},
}

func TestStatesOfMappings(t *testing.T) {
	m := newMill(t)
	id := ""
	for _, tt := range mappingStates {
		op, members, _ := strings.Cut(tt.call, " ")
		var r shownMapping
		if op == "create" {
			if id != "" {
				m.remove(id)
			}
			r = m.create(members)
			id = r.id()
		} else {
			r = m.update(id, members)
		}
		if r["State"] != tt.answers || r["StateTransitionReason"] != "User action" {
			t.Errorf("%s: answered %v (%v), want %s (User action)", tt.rule, r["State"], r["StateTransitionReason"], tt.answers)
		}
		m.until(tt.rule+": "+tt.then, func() bool { return m.get(id)["State"] == tt.then })
	}
	m.remove(id)
}

func TestWhatIsStillChangingIsInUse(t *testing.T) {
	m := newMill(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	m.shelf.doing(func(ctx context.Context, _ *runtime.Invocation) runtime.Result {
		entered <- struct{}{}
		<-leave
		return runtime.Result{Outcome: runtime.Done}
	})
	id := m.create(`"Enabled":true,"BatchSize":1`).id()
	m.put("a", "b")
	<-entered
	busy := func(doing string) {
		t.Helper()
		method, body := http.MethodPut, `{"BatchSize":5}`
		if doing == "delete" {
			method, body = http.MethodDelete, ""
		}
		a := m.send("", method, mappingsPath+"/"+id, body)
		want := `{"Message":"Cannot ` + doing + ` the event source mapping because it is in use.","Type":"User"}`
		if a.status != http.StatusBadRequest || a.code != "ResourceInUseException" || asJSON(t, decoded(t, a.body)) != want {
			t.Errorf("%s: %d %s %s, want %s", doing, a.status, a.code, a.body, want)
		}
	}
	if r := m.update(id, `"Enabled":false`); r["State"] != "Disabling" {
		t.Errorf("state %v", r["State"])
	}
	if r := m.get(id); r["State"] != "Disabling" {
		t.Errorf("state %v while an invocation is under way", r["State"])
	}
	busy("update")
	busy("delete")
	leave <- struct{}{}
	m.until("disabled", func() bool { return m.get(id)["State"] == "Disabled" })

	m.update(id, `"Enabled":true`) // it goes on at its checkpoint, with b
	<-entered
	if r := m.want(m.send("", http.MethodDelete, mappingsPath+"/"+id, ""), http.StatusAccepted); r["State"] != "Deleting" {
		t.Errorf("state %v", r["State"])
	}
	if r := m.get(id); r["State"] != "Deleting" {
		t.Errorf("state %v while an invocation is under way", r["State"])
	}
	busy("update")
	busy("delete")
	m.put("c") // nobody gets it
	leave <- struct{}{}
	m.until("gone", func() bool {
		return m.send("", http.MethodGet, mappingsPath+"/"+id, "").status == http.StatusNotFound
	})
	select {
	case <-entered:
		t.Error("an invocation started after the mapping was deleted")
	default:
	}
}

func TestLastProcessingResult(t *testing.T) {
	m := newMill(t)
	fail := func(context.Context, *runtime.Invocation) runtime.Result {
		return runtime.Result{Outcome: runtime.FunctionError, ErrorType: "Error", ErrorMessage: "no"}
	}
	id := m.create(`"Enabled":true,"MaximumRetryAttempts":0`).id()
	result := func() string { return m.get(id).text("LastProcessingResult") }
	if got := result(); got != "No records processed" {
		t.Errorf("at first %q", got)
	}
	m.put("a")
	m.until("OK", func() bool { return result() == "OK" })
	m.shelf.doing(fail)
	m.put("b")
	m.until("PROBLEM: Function call failed", func() bool { return result() == "PROBLEM: Function call failed" })
	m.shelf.doing(nil)
	m.put("c")
	m.until("OK again", func() bool { return result() == "OK" })
	if r := m.list(""); len(r) != 1 || r[0].text("LastProcessingResult") != "OK" {
		t.Errorf("listed as %v", r)
	}
}

func TestAMappingOutlivesItsFunction(t *testing.T) {
	m := newMill(t)
	id := m.create(`"Enabled":true`).id()
	m.shelf.mu.Lock()
	m.shelf.gone["f"] = true
	m.shelf.mu.Unlock()
	if r := m.get(id); r["State"] != "Enabled" || r["FunctionArn"] != functionF {
		t.Errorf("%v", r)
	}
	m.remove(id)
}

// list lists with a query, page by page.
func (m *mill) list(query string) (all []shownMapping) {
	m.t.Helper()
	for marker := ""; ; {
		path := mappingsPath + "?" + query
		if marker != "" {
			path += "&Marker=" + url.QueryEscape(marker)
		}
		r := m.want(m.send("", http.MethodGet, path, ""), http.StatusOK)
		for _, e := range r["EventSourceMappings"].([]any) {
			all = append(all, e.(map[string]any))
		}
		next, more := r["NextMarker"]
		if !more {
			return all
		}
		marker = next.(string)
	}
}

func TestMappingsAreListed(t *testing.T) {
	m := newMill(t)
	const other = "arn:aws:kinesis:us-east-1:000000000000:stream/t"
	for _, members := range []string{``, `"FunctionName":"g"`, `"FunctionName":"f:live"`, `"EventSourceArn":"` + other + `","FunctionName":"f:$LATEST"`, `"EventSourceArn":"` + streamARN + `/consumer/fan:1700000000"`} {
		m.create(members)
	}
	for _, tt := range []struct {
		rule, query string
		want        int
	}{
		{"all", "", 5},
		{"by stream", "EventSourceArn=" + url.QueryEscape(streamARN), 3},
		{"by consumer", "EventSourceArn=" + url.QueryEscape(streamARN+"/consumer/fan:1700000000"), 1},
		{"by function", "FunctionName=f", 3},
		{"by its ARN", "FunctionName=" + url.QueryEscape(functionF), 3},
		{"by alias", "FunctionName=" + url.QueryEscape("f:live"), 1},
		{"by both", "FunctionName=f&EventSourceArn=" + url.QueryEscape(other), 1},
		{"by a function that is not there", "FunctionName=nobody", 0},
		{"by one of another account", "FunctionName=" + url.QueryEscape("arn:aws:lambda:us-east-1:111111111111:function:f"), 0},
		{"by a stream that is not there", "EventSourceArn=" + url.QueryEscape(streamARN+"s"), 0},
		{"by a queue", "EventSourceArn=" + url.QueryEscape(queueARN), 0},
		{"two at a time", "MaxItems=2", 5},
	} {
		if got := m.list(tt.query); len(got) != tt.want {
			t.Errorf("%s: %d, want %d", tt.rule, len(got), tt.want)
		}
	}
	if a := m.send("111111111111", http.MethodGet, mappingsPath, ""); asJSON(t, decoded(t, a.body)) != `{"EventSourceMappings":[]}` {
		t.Errorf("another account lists %s", a.body)
	}
	for _, tt := range []struct{ query, says string }{
		{"MaxItems=0", "Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{"MaxItems=10001", "Value '10001' at 'maxItems' failed to satisfy constraint: Member must have value less than or equal to 10000"},
		{"EventSourceArn=s", "Value 's' at 'eventSourceArn' failed to satisfy constraint: Member must satisfy regular expression pattern"},
	} {
		if a := m.send("", http.MethodGet, mappingsPath+"?"+tt.query, ""); a.status != http.StatusBadRequest || a.code != codeValidation || !strings.Contains(a.body, jsonText(tt.says)) {
			t.Errorf("%s: %d %s %s", tt.query, a.status, a.code, a.body)
		}
	}
}

func TestAPageHasAHundredMappings(t *testing.T) {
	m := newMill(t)
	var made []string
	for i := range 103 {
		name := fmt.Sprintf("many-%d", i)
		if _, err := m.streams.Create(t.Context(), stream.Local(name), stream.Config{Shards: 1}); err != nil {
			t.Fatal(err)
		}
		made = append(made, m.create(`"EventSourceArn":"arn:aws:kinesis:us-east-1:000000000000:stream/`+name+`"`).id())
	}
	var got []string
	var sizes []int
	for p := sdk.NewListEventSourceMappingsPaginator(m.Client, &sdk.ListEventSourceMappingsInput{MaxItems: aws.Int32(10_000)}); p.HasMorePages(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, len(page.EventSourceMappings))
		for _, e := range page.EventSourceMappings {
			got = append(got, *e.UUID)
		}
	}
	if slices.Sort(made); !slices.Equal(got, made) || !slices.Equal(sizes, []int{100, 3}) {
		t.Errorf("%d mappings in pages of %v", len(got), sizes)
	}
}

// A client of AWS's reads all of it.
func TestClientMakesAndReadsMappings(t *testing.T) {
	m, ctx := newMill(t), t.Context()
	made, err := m.CreateEventSourceMapping(ctx, &sdk.CreateEventSourceMappingInput{
		FunctionName: aws.String("f"), EventSourceArn: aws.String(streamARN), StartingPosition: types.EventSourcePositionTrimHorizon, Enabled: aws.Bool(false), BatchSize: aws.Int32(8),
		BisectBatchOnFunctionError: aws.Bool(true), MaximumRetryAttempts: aws.Int32(2), FunctionResponseTypes: []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures},
		DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(failuresARN)}},
		FilterCriteria:    &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"data":{"a":[1]}}`)}}},
		Tags:              map[string]string{"team": "geo"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := m.GetEventSourceMapping(ctx, &sdk.GetEventSourceMappingInput{UUID: made.UUID})
	if err != nil {
		t.Fatal(err)
	}
	if *got.State != "Disabled" || *got.BatchSize != 8 || !*got.BisectBatchOnFunctionError || *got.MaximumRetryAttempts != 2 || len(got.FunctionResponseTypes) != 1 ||
		*got.DestinationConfig.OnFailure.Destination != failuresARN || *got.FilterCriteria.Filters[0].Pattern != `{"data":{"a":[1]}}` || got.LastModified.IsZero() ||
		*got.EventSourceMappingArn != *made.EventSourceMappingArn || got.StartingPosition != types.EventSourcePositionTrimHorizon {
		t.Errorf("%+v", got)
	}
	tags, err := m.ListTags(ctx, &sdk.ListTagsInput{Resource: made.EventSourceMappingArn})
	if err != nil || len(tags.Tags) != 1 || tags.Tags["team"] != "geo" {
		t.Errorf("tags %v, %v", tags, err)
	}
	_, err = m.CreateEventSourceMapping(ctx, &sdk.CreateEventSourceMappingInput{FunctionName: aws.String("f"), EventSourceArn: aws.String(streamARN), StartingPosition: types.EventSourcePositionLatest})
	if e, ok := errors.AsType[*types.ResourceConflictException](err); !ok || *e.Type != "User" {
		t.Errorf("duplicate: %v", err)
	}
	_, err = m.CreateEventSourceMapping(ctx, &sdk.CreateEventSourceMappingInput{FunctionName: aws.String("nobody"), EventSourceArn: aws.String(streamARN), StartingPosition: types.EventSourcePositionLatest})
	if e, ok := errors.AsType[*types.InvalidParameterValueException](err); !ok || *e.Message != "Function does not exist" {
		t.Errorf("no function: %v", err)
	}
	if _, err := m.DeleteEventSourceMapping(ctx, &sdk.DeleteEventSourceMappingInput{UUID: made.UUID}); err != nil {
		t.Fatal(err)
	}
	m.until("gone", func() bool {
		_, err := m.GetEventSourceMapping(ctx, &sdk.GetEventSourceMappingInput{UUID: made.UUID})
		_, gone := errors.AsType[*types.ResourceNotFoundException](err)
		return gone
	})
}

func TestMappingsMadeAtOnce(t *testing.T) {
	m := newMill(t)
	var mu sync.Mutex
	var wg sync.WaitGroup
	made, refused := map[string]bool{}, []mappingAnswer{}
	for i := range 24 { // of f, and of three qualifiers of it, whose mappings would all be called f-s
		wg.Go(func() {
			a := m.send("", http.MethodPost, mappingsPath, mappingBody(`"FunctionName":"f`+[]string{"", ":7", ":live", ":$LATEST"}[i%4]+`"`))
			mu.Lock()
			defer mu.Unlock()
			if a.status == http.StatusAccepted {
				made[m.want(a, a.status).id()] = true
			} else {
				refused = append(refused, a)
			}
		})
	}
	wg.Wait()
	if len(made) != 4 || len(m.list("")) != 4 {
		t.Errorf("%d were made, %d are there, want 4", len(made), len(m.list("")))
	}
	for _, a := range refused {
		if a.code != codeConflict || !made[a.body[strings.LastIndex(a.body, " ")+1:len(a.body)-2]] {
			t.Errorf("%d %s %s, want one that names a mapping", a.status, a.code, a.body)
		}
	}
}

// between has somebody be quicker between the look for a mapping and what follows.
type between struct {
	Mappings
	do func()
}

func (b *between) Find(ctx context.Context, id string) (triggers.Mapping, error) {
	m, err := b.Mappings.Find(ctx, id)
	if do := b.do; do != nil && err == nil {
		b.do = nil
		do()
	}
	return m, err
}

// A mapping that was made anew under the name of the one that is deleted stays.
func TestDeleteTakesNoOtherMapping(t *testing.T) {
	m := newMill(t)
	slow := &between{Mappings: m.manager}
	h, err := wire.New(wire.Options{Services: []*wire.Service{New(Deps{Functions: m.shelf, Invoker: m.shelf, Mappings: slow, Streams: m.streams})}})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	m.url = server.URL
	first, second := m.create("").id(), ""
	slow.do = func() {
		if a := m.send("", http.MethodDelete, mappingsPath+"/"+first, ""); a.status != 202 {
			t.Fatalf("%+v", a)
		}
		m.until("the first is gone", func() bool {
			_, err := m.manager.Find(t.Context(), first)
			return errors.Is(err, triggers.ErrNotFound)
		})
		second = m.create("").id()
	}
	if a := m.send("", http.MethodDelete, mappingsPath+"/"+first, ""); a.status != 404 || a.code != "ResourceNotFoundException" {
		t.Errorf("the one that is gone: %+v", a)
	}
	if mp, err := m.manager.Find(t.Context(), second); err != nil || mp.State != triggers.Disabled {
		t.Errorf("the other one: %s, %v", mp.State, err)
	}
}
