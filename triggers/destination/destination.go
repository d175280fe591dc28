// Package destination tells others of batches that were discarded (AWS:
// DestinationConfig.OnFailure of an event source mapping).
//
// [Notice] words what is told, exactly as AWS does, when a shard gives a batch up. It
// is committed with the shard's checkpoint; package relay brings it on its way with
// [Sender.Send], at least once, and decides how often that is tried. A notice that is
// sent twice is stored once in a bucket or a directory, since its name comes from its
// id; in a stream there are two of it then, with the same requestId.
package destination

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/wasmill/wasmill/internal/s3"
	"github.com/wasmill/wasmill/stream"
	"github.com/wasmill/wasmill/triggers"
)

// Streams are those of this server.
type Streams interface {
	Describe(ctx context.Context, ref stream.Ref) (stream.Description, error)
	Put(ctx context.Context, ref stream.Ref, entries []stream.Entry) ([]stream.PutResult, error)
}

// Options shape a [Sender].
type Options struct {
	Streams Streams
	// Objects is where buckets are. Nil: nowhere.
	Objects *s3.Client
	// Directories are those that file:// destinations may be in, or be themselves.
	// Absolute; they exist. None: there are no such destinations.
	Directories []string
}

// Sender delivers notices. Safe for concurrent use.
type Sender struct {
	streams Streams
	objects *s3.Client
	files   files
}

// New fails if one of the directories is none.
func New(o Options) (*Sender, error) {
	if o.Objects == nil {
		o.Objects, _ = s3.New(s3.Options{}) // never fails
	}
	f, err := openFiles(o.Directories)
	if err != nil {
		return nil, err
	}
	return &Sender{streams: o.Streams, objects: o.Objects, files: f}, nil
}

// Send delivers a notice once, and returns when it is stored.
func (s *Sender) Send(ctx context.Context, n triggers.Notice) error {
	k, at := kindOf(n.Destination)
	switch k {
	case kindStream:
		ref, err := refOf(n.Destination)
		if err != nil {
			return err
		}
		results, err := s.streams.Put(ctx, ref, []stream.Entry{{PartitionKey: n.Shard, Data: n.Body}})
		if err == nil {
			err = results[0].Err
		}
		return err
	case kindBucket:
		return s.objects.Put(ctx, at, Key(n), Object(n))
	case kindFile:
		return s.files.write(at, Key(n), Object(n))
	}
	return refused(n.Destination)
}

// Check says whether a mapping may have that destination now; empty is none, which it
// may. What is wrong with it is a [triggers.ErrInvalid]; any other error means that
// nobody can tell at the moment.
func (s *Sender) Check(ctx context.Context, destination string) error {
	if destination == "" {
		return nil
	}
	if utf8.RuneCountInString(destination) > triggers.MaxDestination {
		return fmt.Errorf("%w: destination of %d characters: want %d at most", triggers.ErrInvalid, utf8.RuneCountInString(destination), triggers.MaxDestination)
	}
	k, at := kindOf(destination)
	switch k {
	case kindStream:
		ref, err := refOf(destination)
		if err != nil {
			return err
		}
		d, err := s.streams.Describe(ctx, ref)
		if errors.Is(err, stream.ErrNotFound) || err == nil && d.State == stream.Deleting {
			return fmt.Errorf("%w: destination %s: there is no such stream; make it first", triggers.ErrInvalid, destination)
		}
		return err
	case kindBucket:
		err := s.objects.Exists(ctx, at)
		if errors.Is(err, s3.ErrNotFound) || errors.Is(err, s3.ErrNotConfigured) || errors.Is(err, s3.ErrDenied) || errors.Is(err, s3.ErrInvalid) {
			return fmt.Errorf("%w: destination %s: %w", triggers.ErrInvalid, destination, err)
		}
		return err
	case kindFile:
		_, _, err := s.files.place(at)
		return err
	}
	return refused(destination)
}

// kind of a destination.
type kind int

const (
	kindNone kind = iota
	kindStream
	kindBucket
	kindFile
)

// kindOf says what a destination is by its looks, and of a bucket its name, of a
// directory its path.
func kindOf(destination string) (k kind, at string) {
	if path, ok := strings.CutPrefix(destination, "file://"); ok {
		return kindFile, path
	}
	if parts := strings.SplitN(destination, ":", 6); len(parts) == 6 && parts[0] == "arn" && parts[1] == "aws" {
		switch {
		case parts[2] == "kinesis" && strings.HasPrefix(parts[5], "stream/"):
			return kindStream, ""
		case parts[2] == "s3" && parts[3] == "" && parts[4] == "" && parts[5] != "" && !strings.ContainsAny(parts[5], "/:"):
			return kindBucket, parts[5]
		}
	}
	return kindNone, ""
}

func refOf(arn string) (stream.Ref, error) {
	parts := strings.SplitN(arn, ":", 6)
	ref := stream.Ref{Region: parts[3], Account: parts[4], Name: strings.TrimPrefix(parts[5], "stream/")}
	if err := ref.Validate(); err != nil {
		return ref, fmt.Errorf("%w: destination %s: %w", triggers.ErrInvalid, arn, err)
	}
	return ref, nil
}

// refused says what there is instead of a destination that is none here.
func refused(destination string) error {
	const instead = "name a stream of this server (arn:aws:kinesis:…:stream/NAME), a bucket (arn:aws:s3:::NAME) or a directory (file:///DIR)"
	service, other := "", ""
	if parts := strings.SplitN(destination, ":", 4); len(parts) == 4 && parts[0] == "arn" {
		if service = parts[2]; parts[1] != "aws" {
			other = parts[1]
		}
	}
	what := ""
	switch {
	case other != "":
		what = "this server has nothing of partition " + other
	case strings.HasPrefix(destination, "kafka://"):
		what = "Kafka topics are no destinations here: this server speaks no Kafka"
	case service == "kafka":
		what = "Kafka clusters are no destinations here: this server speaks no Kafka"
	case service == "sns":
		what = "SNS topics are no destinations here: this server has none"
	case service == "sqs":
		what = "queues are no destinations yet: this server has none"
	case service == "lambda":
		what = "functions are no destinations of event source mappings, on AWS neither; a function with a mapping on a stream that is the destination gets its records"
	case service == "events":
		what = "event buses are no destinations of event source mappings, on AWS neither"
	case service == "kinesis":
		what = "of Kinesis only streams are destinations"
	case service == "s3":
		what = "of S3 only whole buckets are destinations"
	default:
		what = "it is none"
	}
	return fmt.Errorf("%w: destination %s: %s; %s", triggers.ErrInvalid, destination, what, instead)
}
