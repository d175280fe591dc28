package admin

import (
	"context"
	"math/bits"
	"net/http"

	"github.com/wasmill/wasmill/stream"
)

// Resharder changes the shards of a stream. Each call returns when the new shards
// take records. [stream.ErrBusy]: another change is under way.
type Resharder interface {
	// Split cuts a shard in two; at is the first hash key of the second.
	Split(ctx context.Context, ref stream.Ref, shard string, at stream.HashKey) (stream.Description, error)
	// Merge makes one of two shards whose hash ranges touch.
	Merge(ctx context.Context, ref stream.Ref, shard, adjacent string) (stream.Description, error)
	// Scale splits and merges until so many shards share the hash range evenly.
	Scale(ctx context.Context, ref stream.Ref, shards int) (stream.Description, error)
}

// SplitSpec names a shard to split.
type SplitSpec struct {
	Shard string `json:"shard"`
	// At is the first hash key of the second half; left out: the middle.
	At *stream.HashKey `json:"at,omitempty"`
}

// MergeSpec names two shards whose hash ranges touch.
type MergeSpec struct {
	Shard    string `json:"shard"`
	Adjacent string `json:"adjacent"`
}

// ScaleSpec says how many open shards a stream is to have.
type ScaleSpec struct {
	Shards int `json:"shards"`
}

func (h *handler) splitShard(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	var spec SplitSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	if spec.At == nil {
		d, err := h.Streams.Describe(r.Context(), stream.Local(name))
		if err != nil {
			return h.ofStream(r.Context(), err, name)
		}
		for _, s := range d.Shards {
			if s.ID == spec.Shard {
				at := middle(s.From, s.To)
				spec.At = &at
			}
		}
		if spec.At == nil {
			return h.noShard(d, spec.Shard)
		}
	}
	_, err := h.Streams.Split(r.Context(), stream.Local(name), spec.Shard, *spec.At)
	return h.resharded(w, r, name, err)
}

func (h *handler) mergeShards(w http.ResponseWriter, r *http.Request) error {
	var spec MergeSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	name := r.PathValue("name")
	_, err := h.Streams.Merge(r.Context(), stream.Local(name), spec.Shard, spec.Adjacent)
	return h.resharded(w, r, name, err)
}

func (h *handler) scaleStream(w http.ResponseWriter, r *http.Request) error {
	var spec ScaleSpec
	if err := readJSON(w, r, maxJSON, &spec); err != nil {
		return err
	}
	name := r.PathValue("name")
	_, err := h.Streams.Scale(r.Context(), stream.Local(name), spec.Shards)
	return h.resharded(w, r, name, err)
}

// resharded answers with the stream as it is now.
func (h *handler) resharded(w http.ResponseWriter, r *http.Request, name string, err error) error {
	if err != nil {
		return h.ofStream(r.Context(), err, name)
	}
	return h.getStream(w, r)
}

// noShard is the error for a shard that a stream does not have.
func (h *handler) noShard(d stream.Description, id string) error {
	return newError(CodeShardNotFound, "stream %s has no shard %q", d.Name, id).Named(d.Name)
}

// middle is the first hash key of the upper half of a range.
func middle(from, to stream.HashKey) stream.HashKey {
	lo, borrow := bits.Sub64(to.Lo, from.Lo, 0)
	hi, _ := bits.Sub64(to.Hi, from.Hi, borrow)
	lo, hi = lo>>1|hi<<63, hi>>1
	lo, carry := bits.Add64(from.Lo, lo, 1)
	hi, _ = bits.Add64(from.Hi, hi, carry)
	return stream.HashKey{Hi: hi, Lo: lo}
}

// SplitShard cuts a shard of a stream in two. at is the first hash key of the
// second half; nil: the middle.
func (c *Client) SplitShard(ctx context.Context, name, shard string, at *stream.HashKey) (v Stream, err error) {
	err = c.call(ctx, "POST", path("streams", name, "split"), SplitSpec{Shard: shard, At: at}, &v)
	return v, err
}

// MergeShards makes one of two shards whose hash ranges touch.
func (c *Client) MergeShards(ctx context.Context, name, shard, adjacent string) (v Stream, err error) {
	err = c.call(ctx, "POST", path("streams", name, "merge"), MergeSpec{Shard: shard, Adjacent: adjacent}, &v)
	return v, err
}

// ScaleStream splits and merges until so many open shards share the hash range evenly.
func (c *Client) ScaleStream(ctx context.Context, name string, shards int) (v Stream, err error) {
	err = c.call(ctx, "POST", path("streams", name, "scale"), ScaleSpec{Shards: shards}, &v)
	return v, err
}
