package main

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/wasmill/wasmill/api/admin"
	"github.com/wasmill/wasmill/runtime"
	"github.com/wasmill/wasmill/stream"
)

func (c *cli) eventCommand() *cobra.Command {
	return c.nounCommand("event", "Events to call functions with, as triggers make them", c.eventGen())
}

// maxGenerated is the most records of one event, as of one batch.
const maxGenerated = 10_000

func (c *cli) eventGen() *cobra.Command {
	var of, key, output, item string
	var data []string
	count := 1
	cmd := &cobra.Command{
		Use: "gen kinesis|sqs|dynamodb", Short: "Write an event in JSON, for fn invoke", Args: takes("kinesis|sqs|dynamodb"),
		ValidArgs: []string{"kinesis", "sqs", "dynamodb"},
		Long: help("Writes the event that a function gets from AWS Lambda, and from wasmill, for records of a stream, messages of",
			"a queue or changes of a table. It goes to standard output, or to a file with -o.",
			"",
			"--data is a record's data, or a message's body; repeat it for more. With --count there are so many records, of",
			"which the last --data fills those that are left. For a table each is a new item; --item gives its attributes",
			"as a JSON object, plain ones, and --key the value of its key, id."),
		Example: help("  wasmill event gen kinesis --data '{\"id\":1}' --key 1 | wasmill fn invoke enrich --event -",
			"  wasmill event gen sqs --count 10 --data hello -o events/sqs.json",
			"  wasmill event gen dynamodb --table orders --item '{\"total\":12.5,\"open\":true}'"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if count < 1 || count > maxGenerated {
				return usageError{fmt.Errorf("--count %d: want 1 to %d", count, maxGenerated)}
			}
			if !cmd.Flags().Changed("count") {
				count = max(1, len(data))
			}
			if len(data) > count {
				return usageError{fmt.Errorf("--count %d: there are %d --data", count, len(data))}
			}
			g := generator{of: of, key: key, data: data, count: count, now: time.Now().Truncate(time.Millisecond)}
			if item != "" {
				dec := json.NewDecoder(bytes.NewReader([]byte(item)))
				dec.UseNumber()
				if err := dec.Decode(&g.item); err != nil || g.item == nil {
					return usageError{fmt.Errorf("--item %s: want a JSON object", cut(item, mostKey))}
				}
			}
			if args[0] != "dynamodb" && item != "" || args[0] == "dynamodb" && len(data) > 0 {
				return usageError{errors.New("--item is of dynamodb, and --data of the others")}
			}
			batch, err := g.batch(args[0])
			if err != nil {
				return err
			}
			var text bytes.Buffer
			if err := json.Indent(&text, runtime.AppendJSON(nil, batch), "", "  "); err != nil {
				return err
			}
			text.WriteByte('\n')
			if output != "" && output != "-" {
				if err := writeNew(output, text.String()); hasCode(err, admin.CodeProjectExists) {
					e := admin.NewError(admin.CodeInput, "%s is there already, and stays as it is", output).With("file", output)
					e.Actions = []admin.Action{{Text: "name another file with -o, or remove that one first"}}
					return e
				} else if err != nil {
					return err
				}
				c.say("wrote %s: an event of %s", output, plural(count, map[string]string{"kinesis": "record", "sqs": "message", "dynamodb": "change"}[args[0]]))
				c.say("  next: wasmill fn invoke NAME --event %s", quoteAll([]string{output})[0])
				return c.done(map[string]any{"file": output, "records": count}, nil)
			}
			return c.done(json.RawMessage(text.Bytes()), func(w io.Writer) { w.Write(text.Bytes()) })
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&data, "data", nil, "`data` of a record, or body of a message; repeatable (default {\"hello\":\"world\"})")
	f.StringVar(&key, "key", "", "partition `key` of the records; of a queue the message group; of a table the key of the item")
	f.IntVarP(&count, "count", "n", 1, "how many records")
	f.StringVar(&of, "stream", "", "`name` of the stream (default events); --queue and --table are the same")
	f.StringVar(&of, "queue", "", "`name` of the queue")
	f.StringVar(&of, "table", "", "`name` of the table")
	f.StringVar(&item, "item", "", "attributes of the new item, a `JSON` object")
	f.StringVarP(&output, "output", "o", "", "the `file` to write")
	cmd.MarkFlagsMutuallyExclusive("stream", "queue", "table")
	return cmd
}

// generator makes the batches that events are written from, so that they are
// what a trigger's would be.
type generator struct {
	of, key string
	data    []string
	item    map[string]any
	count   int
	now     time.Time
}

func (g generator) name() string {
	if g.of == "" {
		return "events"
	}
	return g.of
}

func (g generator) text(i int) []byte {
	if len(g.data) == 0 {
		return []byte(`{"hello":"world"}`)
	}
	return []byte(g.data[min(i, len(g.data)-1)])
}

func (g generator) batch(kind string) (*runtime.Batch, error) {
	ref := stream.Local(g.name())
	if err := ref.Validate(); err != nil {
		return nil, usageError{err}
	}
	b := &runtime.Batch{Region: ref.Region}
	arn := func(service, rest string) string {
		return "arn:aws:" + service + ":" + ref.Region + ":" + ref.Account + ":" + rest
	}
	switch kind {
	case "kinesis":
		b.Kind, b.Shard, b.ARN, b.Identity = runtime.KindKinesis, "shardId-000000000000", ref.ARN(), "arn:aws:iam::"+ref.Account+":role/wasmill"
		for i := range g.count {
			key := g.key
			if key == "" {
				key = strconv.Itoa(i + 1)
			}
			b.Records = append(b.Records, runtime.Record{Sequence: g.sequence(i), PartitionKey: key, Data: g.text(i), Arrival: g.now.UnixMilli()})
		}
	case "sqs":
		b.Kind, b.ARN = runtime.KindSQS, arn("sqs", g.name())
		for i := range g.count {
			b.Records = append(b.Records, g.message(i, ref.Account))
		}
	case "dynamodb":
		b.Kind, b.Shard, b.ARN = runtime.KindDynamoDB, "shardId-00000000000000000000-00000000", arn("dynamodb", "table/"+g.name()+"/stream/"+g.now.UTC().Format("2006-01-02T15:04:05.000"))
		for i := range g.count {
			r, err := g.insert(i)
			if err != nil {
				return nil, err
			}
			b.Records = append(b.Records, r)
		}
	default:
		return nil, usageError{fmt.Errorf("%q: want kinesis, sqs or dynamodb", kind)}
	}
	return b, nil
}

func (g generator) sequence(i int) string {
	return stream.SequenceNumber{Frame: 1, Index: uint16(i), Time: uint32(g.now.Unix())}.String()
}

func (g generator) message(i int, account string) runtime.Record {
	body := g.text(i)
	sum := md5.Sum(body)
	sent := strconv.FormatInt(g.now.UnixMilli(), 10)
	m := &runtime.Message{ReceiptHandle: "generated-" + uuid.NewString(), MD5: hex.EncodeToString(sum[:])}
	m.System = append(m.System, runtime.SystemAttribute{Name: "ApproximateReceiveCount", Value: "1"}, runtime.SystemAttribute{Name: "SentTimestamp", Value: sent})
	if g.key != "" { // a FIFO queue has these
		m.System = append(m.System, runtime.SystemAttribute{Name: "SequenceNumber", Value: fmt.Sprintf("188504964607753%05d", i)},
			runtime.SystemAttribute{Name: "MessageGroupId", Value: g.key})
	}
	m.System = append(m.System, runtime.SystemAttribute{Name: "SenderId", Value: account})
	if g.key != "" {
		m.System = append(m.System, runtime.SystemAttribute{Name: "MessageDeduplicationId", Value: uuid.NewString()})
	}
	m.System = append(m.System, runtime.SystemAttribute{Name: "ApproximateFirstReceiveTimestamp", Value: sent})
	return runtime.Record{Sequence: uuid.NewString(), Data: body, Arrival: g.now.UnixMilli(), Message: m}
}

// insert is the change that a new item makes.
func (g generator) insert(i int) (runtime.Record, error) {
	key := g.key
	if key == "" || g.count > 1 {
		key += strconv.Itoa(i + 1)
	}
	keys := map[string]any{"id": map[string]any{"S": key}}
	image := map[string]any{"id": keys["id"]}
	bytesOf := 2*len("id") + 2*len(key)
	for name, v := range g.item {
		if name == "id" {
			return runtime.Record{}, usageError{errors.New("--item: id is the key; give it with --key")}
		}
		image[name] = attribute(v)
		text, err := json.Marshal(v)
		if err != nil {
			return runtime.Record{}, err
		}
		bytesOf += len(name) + len(text)
	}
	sequence := fmt.Sprintf("%d%021d", 1, i+1)
	data, err := json.Marshal(struct {
		ApproximateCreationDateTime int64
		Keys, NewImage              map[string]any
		SequenceNumber              string
		SizeBytes                   int
		StreamViewType              string
	}{g.now.Unix(), keys, image, sequence, bytesOf, "NEW_AND_OLD_IMAGES"})
	if err != nil {
		return runtime.Record{}, err
	}
	id := uuid.New()
	return runtime.Record{Sequence: sequence, Data: data, Arrival: g.now.UnixMilli(), Change: &runtime.Change{EventID: hex.EncodeToString(id[:]), EventName: "INSERT"}}, nil
}

// attribute writes a JSON value as DynamoDB does.
func attribute(v any) map[string]any {
	switch v := v.(type) {
	case nil:
		return map[string]any{"NULL": true}
	case bool:
		return map[string]any{"BOOL": v}
	case json.Number:
		return map[string]any{"N": v.String()}
	case string:
		return map[string]any{"S": v}
	case []any:
		list := make([]any, len(v))
		for i, one := range v {
			list[i] = attribute(one)
		}
		return map[string]any{"L": list}
	case map[string]any:
		m := map[string]any{}
		for name, one := range v {
			m[name] = attribute(one)
		}
		return map[string]any{"M": m}
	}
	panic(fmt.Sprintf("a JSON decoder made a %T", v))
}
