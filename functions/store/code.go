package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/wasmill/wasmill/functions"
	"github.com/wasmill/wasmill/internal/natsd"
	"github.com/wasmill/wasmill/runtime"
)

const (
	streamName = "CODE"
	subjects   = "code."

	// chunk is the most bytes of code in one message.
	chunk = 512 << 10
)

// codes keeps modules in a stream, in chunks on the subjects
// code.<digest>.<index>.<count>. A subject holds one message and says itself
// what has to be in it, so that storing is repeated without harm, and which
// modules are complete is known from the subjects alone.
//
// Not NATS's object store: that has names, metadata and an ordered consumer to
// read by, which a code store addressed by content does not need.
type codes struct {
	srv    *natsd.Server
	stream jetstream.Stream
	// whole are the digests stored completely, false for those of which there
	// is only a part. Only who may change functions touches it.
	whole map[string]bool
	// damaged are digests that were read otherwise than they were stored, to be
	// stored again when somebody has the code.
	damaged sync.Map
}

func openCodes(ctx context.Context, srv *natsd.Server) (*codes, error) {
	st, err := natsd.Change(ctx, srv, func(ctx context.Context) (jetstream.Stream, error) {
		// Never updated: a kill while JetStream writes a stream's settings anew
		// leaves them damaged, and every start would be a chance for that.
		st, err := srv.JS().Stream(ctx, streamName)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return st, err
		}
		return srv.JS().CreateStream(ctx, jetstream.StreamConfig{
			Name: streamName, Description: "code of functions, by digest", Subjects: []string{subjects + ">"},
			Storage: srv.Storage(), MaxMsgsPerSubject: 1, AllowDirect: true,
		})
	})
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", streamName, err)
	}
	c := &codes{srv: srv, stream: st, whole: map[string]bool{}}
	info, err := natsd.Ask(ctx, srv, func(ctx context.Context) (*jetstream.StreamInfo, error) {
		return st.Info(ctx, jetstream.WithSubjectFilter(subjects+">"))
	})
	if err != nil {
		return nil, fmt.Errorf("list stream %s: %w", streamName, err)
	}
	have := map[string]int{}
	want := map[string]int{}
	for subject := range info.State.Subjects {
		digest, rest, _ := strings.Cut(strings.TrimPrefix(subject, subjects), ".")
		_, count, _ := strings.Cut(rest, ".")
		have[digest]++
		want[digest], _ = strconv.Atoi(count)
	}
	for digest := range have {
		c.whole[digest] = have[digest] == want[digest]
	}
	return c, nil
}

func subject(digest string, index, count int) string {
	return fmt.Sprintf("%s%s.%d.%d", subjects, digest, index, count)
}

func chunks(size int64) int { return max(1, int((size+chunk-1)/chunk)) }

// stored lists what is there, wholly or in part.
func (c *codes) stored() []string {
	out := make([]string, 0, len(c.whole))
	for digest := range c.whole {
		out = append(out, digest)
	}
	return out
}

// put stores code, unless it is there.
func (c *codes) put(ctx context.Context, digest string, code []byte, progress func(runtime.Progress)) error {
	if _, damaged := c.damaged.Load(digest); c.whole[digest] && !damaged {
		return nil
	}
	c.whole[digest] = false
	count := chunks(int64(len(code)))
	for i := range count {
		part := code[min(i*chunk, len(code)):min((i+1)*chunk, len(code))]
		if err := c.srv.Admit(natsd.Data, len(part)); err != nil {
			return err
		}
		m := nats.NewMsg(subject(digest, i, count))
		m.Data = part
		if _, err := natsd.Retry(ctx, c.srv, func() (*jetstream.PubAck, error) {
			ctx, cancel := c.srv.WriteContext(ctx)
			defer cancel()
			return c.srv.JS().PublishMsg(ctx, m)
		}); err != nil {
			return err
		}
		if progress != nil {
			progress(runtime.Progress{Stage: "store", Done: int64(min((i+1)*chunk, len(code))), Total: int64(len(code))})
		}
	}
	c.whole[digest] = true
	c.damaged.Delete(digest)
	return nil
}

// get reads code and verifies its digest.
func (c *codes) get(ctx context.Context, digest string) ([]byte, error) {
	missing := func() error { return fmt.Errorf("%w: code %s", functions.ErrNotFound, digest) }
	if b, err := hex.DecodeString(digest); err != nil || len(b) != sha256.Size || strings.ToLower(digest) != digest {
		return nil, missing() // nothing else is part of a subject
	}
	var code bytes.Buffer
	for seq, i, count := uint64(1), 0, 1; i < count; i++ {
		m, err := natsd.Retry(ctx, c.srv, func() (*jetstream.RawStreamMsg, error) {
			ctx, cancel := c.srv.ReadContext(ctx)
			defer cancel()
			if i > 0 {
				return c.stream.GetLastMsgForSubject(ctx, subject(digest, i, count))
			}
			return c.stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(subjects+digest+".0.*"))
		})
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			c.damaged.Store(digest, true)
			return nil, missing()
		}
		if err != nil {
			return nil, fmt.Errorf("read code %s: %w", digest, err)
		}
		if i == 0 {
			if count, err = strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]); err != nil {
				return nil, fmt.Errorf("read code %s: subject %s", digest, m.Subject)
			}
			code.Grow(min(count*chunk, functions.MaxCode))
		}
		code.Write(m.Data)
	}
	if sum := sha256.Sum256(code.Bytes()); hex.EncodeToString(sum[:]) != digest {
		c.damaged.Store(digest, true)
		return nil, fmt.Errorf("code %s is damaged on disk: deploy the function again", digest)
	}
	return code.Bytes(), nil
}

// drop removes code, whole or not.
func (c *codes) drop(ctx context.Context, digest string) error {
	if _, known := c.whole[digest]; !known {
		return nil
	}
	c.whole[digest] = false
	_, err := natsd.Retry(ctx, c.srv, func() (struct{}, error) {
		ctx, cancel := c.srv.WriteContext(ctx)
		defer cancel()
		return struct{}{}, c.stream.Purge(ctx, jetstream.WithPurgeSubject(subjects+digest+".>"))
	})
	if err == nil {
		delete(c.whole, digest)
	}
	return err
}
