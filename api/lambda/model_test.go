package lambda

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wasmill/wasmill/api/wire"
)

// departures are the rows in which our tables differ from AWS's model, with how they end
// instead: AWS answers otherwise than its model says.
var departures = map[string]string{
	"CreateFunction.Timeout":              "integer 1..900",
	"UpdateFunctionConfiguration.Timeout": "integer 1..900",
	"CreateFunction.Runtime":              "string", // checked later, in words of its own
	"UpdateFunctionConfiguration.Runtime": "string",
	"CreateFunction.CapacityProviderConfig.LambdaManagedInstancesCapacityProviderConfig.ExecutionEnvironmentMemoryGiBPerVCpu":              "double",
	"UpdateFunctionConfiguration.CapacityProviderConfig.LambdaManagedInstancesCapacityProviderConfig.ExecutionEnvironmentMemoryGiBPerVCpu": "double",
	"CreateAlias.RoutingConfig.AdditionalVersionWeights":                                                                                   "map of string 1..1024 `[0-9]+` -> double",
	"UpdateAlias.RoutingConfig.AdditionalVersionWeights":                                                                                   "map of string 1..1024 `[0-9]+` -> double",
	"CreateEventSourceMapping.DestinationConfig.OnSuccess.Destination":                                                                     "|file://.*`", // ours
	"CreateEventSourceMapping.DestinationConfig.OnFailure.Destination":                                                                     "|file://.*`",
	"UpdateEventSourceMapping.DestinationConfig.OnSuccess.Destination":                                                                     "|file://.*`",
	"UpdateEventSourceMapping.DestinationConfig.OnFailure.Destination":                                                                     "|file://.*`",
	"DeleteFunction": "DELETE /2015-03-31/functions/{FunctionName} 204",
	"TagResource":    "POST /2017-03-31/tags/{Resource+} 204", // tolerates slashes
	"UntagResource":  "DELETE /2017-03-31/tags/{Resource+} 204",
	"ListTags":       "GET /2017-03-31/tags/{Resource+} 200",
}

func notation(s *wire.Shape) string {
	bounds := ""
	if s.Min != math.MinInt64 || s.Max != math.MaxInt64 {
		low, high := "", ""
		if s.Min != math.MinInt64 {
			low = strconv.FormatInt(s.Min, 10)
		}
		if s.Max != math.MaxInt64 {
			high = strconv.FormatInt(s.Max, 10)
			if low == "" {
				low = "0" // of lengths: the same as none
			}
		}
		bounds = " " + low + ".." + high
	}
	switch s.Kind {
	case wire.KindString:
		if s.Enum != nil {
			return "string enum " + strings.Join(slices.Sorted(slices.Values(s.Enum)), "/")
		}
		if s.Pattern != "" {
			bounds += " `" + s.Pattern + "`"
		}
		return "string" + bounds
	case wire.KindInteger:
		return "integer" + bounds
	case wire.KindLong:
		return "long" + bounds
	case wire.KindDouble:
		return "double"
	case wire.KindBlob:
		return "blob" + bounds
	case wire.KindBoolean:
		return "boolean"
	case wire.KindTimestamp:
		return "timestamp"
	case wire.KindList:
		return "list" + bounds + " of " + notation(s.Elem)
	case wire.KindMap:
		return "map" + bounds + " of " + notation(s.Key) + " -> " + notation(s.Elem)
	}
	var names []string
	for _, m := range s.Members {
		if m.Required {
			m.Name += "*"
		}
		names = append(names, m.Name)
	}
	return "{" + strings.Join(slices.Sorted(slices.Values(names)), ", ") + "}"
}

// tableRows writes an operation's table as the facts do.
func tableRows(op *wire.Operation) map[string]string {
	rows := map[string]string{op.Name: fmt.Sprintf("%s %s %d", op.Method, op.Path, max(op.Status, 200))}
	var walk func(prefix string, s *wire.Shape)
	walk = func(prefix string, s *wire.Shape) {
		for _, m := range s.Members {
			place := ""
			if prefix == "" {
				place = [...]string{wire.InBody: "", wire.InPath: "path", wire.InQuery: "query", wire.InHeader: "header", wire.InPayload: "payload"}[m.In]
				if m.Key != "" {
					place += " " + m.Key
				}
			}
			required := ""
			if m.Required {
				required = "*"
			}
			rows[op.Name+"."+prefix+m.Name] = required + "\t" + place + "\t" + notation(m.Shape)
			switch {
			case m.Shape.Kind == wire.KindStructure:
				walk(prefix+m.Name+".", m.Shape)
			case m.Shape.Kind == wire.KindList && m.Shape.Elem.Kind == wire.KindStructure:
				walk(prefix+m.Name+".member.", m.Shape.Elem)
			}
		}
	}
	if op.Input != nil {
		walk("", op.Input)
	}
	return rows
}

// The tables are AWS's, operation by operation and member by member, but for the departures.
// Of what is refused by name only the operations count.
func TestTablesAreTheModel(t *testing.T) {
	f, err := os.Open("testdata/model.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got, refused := map[string]string{}, map[string]bool{}
	for _, op := range refusedOps() {
		refused[op.Name] = true
	}
	for _, op := range New(Deps{}).Ops {
		for row, says := range tableRows(op) {
			got[row] = says
		}
	}
	departed := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		row := strings.Split(lines.Text(), "\t")
		if len(row) != 5 || row[1] != "" && refused[row[0]] {
			continue
		}
		at, want := row[0], row[3]
		if row[1] != "" {
			at, want = row[0]+"."+row[1], strings.Join(row[2:], "\t")
		}
		is, ok := got[at]
		delete(got, at)
		if refused[at] { // with whatever status it would have
			is, want = is[:strings.LastIndex(is, " ")], want[:strings.LastIndex(want, " ")]
		}
		if other, ok := departures[at]; ok && strings.HasSuffix(is, other) && is != want {
			departed[at] = true
			continue
		}
		if !ok {
			t.Errorf("%s is in the model, and not in our tables: %s", at, want)
		} else if is != want {
			t.Errorf("%s is\n  %q, want\n  %q", at, is, want)
		}
	}
	for at, is := range got {
		t.Errorf("%s is in our tables, and not in the model: %s", at, is)
	}
	for at := range departures {
		if !departed[at] {
			t.Errorf("%s is said to depart from the model, and does not", at)
		}
	}
}
