package filter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wasmill/wasmill/runtime"
)

// Never says of a pattern that no record of the source can match it, since it asks for a key that
// none has. AWS takes such a pattern too, and passes every record by.
type Never struct {
	Pattern int    // index of the pattern
	Path    string // that no record has
	Reason  string // for people
}

// source is what events of a kind have beside the data.
type source struct {
	name   string   // of one record
	scalar []string // members that are text or numbers
	object []string // members that are objects
}

var sources = map[runtime.Kind]source{
	runtime.KindKinesis: {
		name: "a Kinesis record",
		scalar: []string{"partitionKey", "sequenceNumber", "kinesisSchemaVersion", "approximateArrivalTimestamp", "eventID", "eventName", "eventSource",
			"eventSourceARN", "eventVersion", "awsRegion", "invokeIdentityArn"},
		object: []string{"kinesis"},
	},
	runtime.KindDynamoDB: {
		name:   "a change of a DynamoDB table",
		scalar: []string{"eventID", "eventName", "eventVersion", "eventSource", "awsRegion", "eventSourceARN"},
		object: []string{"userIdentity"},
	},
	runtime.KindSQS: {
		name:   "an SQS message",
		scalar: []string{"messageId", "receiptHandle", "md5OfBody", "md5OfMessageAttributes", "eventSource", "eventSourceARN", "awsRegion"},
		object: []string{"attributes", "messageAttributes"},
	},
}

// Never names the patterns that can match no record of the source, in order.
func (s *Set) Never() []Never {
	if s == nil {
		return nil
	}
	var out []Never
	for i := 0; i < len(s.rules); {
		pattern, path, alive := s.rules[i].pattern, "", false
		for ; i < len(s.rules) && s.rules[i].pattern == pattern; i++ {
			if at := s.lacking(s.rules[i].group); at == "" {
				alive = true // one of its alternatives may match
			} else if path == "" {
				path = at
			}
		}
		if !alive {
			out = append(out, Never{Pattern: pattern, Path: path, Reason: s.why(path)})
		}
	}
	return out
}

// lacking is a path that a rule needs and no record has; empty: there is none.
func (s *Set) lacking(g int) string {
	of := sources[s.Kind]
	for k, c := range s.groups[g].conds {
		path := s.nodes[s.groups[g].nodes[k]].path
		if s.conds[c].absent { // which is what such a path is
			continue
		}
		top, rest, deeper := strings.Cut(path, ".")
		switch {
		case top == dataKey(s.Kind), slices.Contains(of.object, top) && deeper && top != "kinesis":
		case slices.Contains(of.scalar, top) && !deeper:
		case top == "kinesis" && (rest == "data" || slices.Contains(of.scalar[:4], rest)):
		default:
			return path
		}
	}
	return ""
}

// why says what is wrong with a path, and what there is.
func (s *Set) why(path string) string {
	of, key := sources[s.Kind], dataKey(s.Kind)
	top, _, _ := strings.Cut(path, ".")
	have := key + ", " + strings.Join(append(slices.Clone(of.scalar), of.object...), ", ")
	foreign := ""
	for _, k := range []runtime.Kind{runtime.KindKinesis, runtime.KindDynamoDB, runtime.KindSQS} {
		switch {
		case k == s.Kind, foreign != "":
		case top == dataKey(k), slices.Contains(sources[k].scalar, top), slices.Contains(sources[k].object, top):
			foreign = " is of " + map[runtime.Kind]string{runtime.KindKinesis: "Kinesis", runtime.KindDynamoDB: "DynamoDB", runtime.KindSQS: "SQS"}[k] + ":"
		}
	}
	switch {
	case top == "kinesis" && s.Kind == runtime.KindKinesis:
		return fmt.Sprintf("%q: filters look at the decoded data at the key %q, not below \"kinesis\"; nothing will ever match", path, key)
	case slices.Contains(of.scalar, top):
		return fmt.Sprintf("%q: %s of %s is no object; nothing will ever match", path, top, of.name)
	case foreign == "":
		return fmt.Sprintf("%q: %s has %s; keys of the data stand below %q, as in {%q: {%q: …}}; nothing will ever match", top, of.name, have, key, key, top)
	}
	return fmt.Sprintf("%q%s %s has %s; nothing will ever match", top, foreign, of.name, have)
}
