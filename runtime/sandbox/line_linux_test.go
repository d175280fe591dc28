package sandbox

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"time"
)

func TestLineReadsAllThatComesHoweverSoon(t *testing.T) {
	server, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	l, err := newLine(theirs)
	if err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	go func() {
		defer server.Close()
		for range 500 {
			b := bytes.Repeat([]byte{byte(r.Uint32())}, 1+r.IntN(2000))
			sent.Write(b)
			if _, err := server.Write(b); err != nil {
				t.Error(err)
				return
			}
			// Before, while and after it looks.
			for pause, since := time.Duration(r.IntN(int(2*lookFor))), time.Now(); time.Since(since) < pause; {
			}
		}
	}()
	got, err := io.ReadAll(l)
	if err != nil || !bytes.Equal(got, sent.Bytes()) {
		t.Errorf("%d of %d bytes, %v", len(got), sent.Len(), err)
	}
	if n, err := l.Write([]byte("x")); err == nil {
		t.Errorf("%d bytes went to a server that has gone", n)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if looking.Load() != 0 {
		t.Error("it is still looking")
	}
}
