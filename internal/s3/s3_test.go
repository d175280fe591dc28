package s3

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// server is an endpoint that has the bucket "there", and what it was asked for.
func server(t *testing.T) (c *Client, backend *s3mem.Backend, asked *[]*http.Request) {
	t.Helper()
	backend = s3mem.New()
	if err := backend.CreateBucket("there"); err != nil {
		t.Fatal(err)
	}
	h := gofakes3.New(backend).Server()
	asked = &[]*http.Request{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r)
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	c, err := New(Options{Endpoint: srv.URL, Region: "eu-west-3", AccessKey: "AKIDEXAMPLE", SecretKey: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return c, backend, asked
}

func TestWhatIsPutIsGot(t *testing.T) {
	c, _, asked := server(t)
	ctx := context.Background()
	for key, body := range map[string][]byte{
		"a/b c/ü+1": []byte("x"), "large": bytes.Repeat([]byte("large "), 3<<20),
	} {
		for range 2 { // the second in place of the first
			if err := c.Put(ctx, "there", key, body); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.Get(ctx, "there", key, "", int64(len(body)))
		if err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %d bytes, %v; want %d", key, len(got), err, len(body))
		}
		if _, err := c.Get(ctx, "there", key, "", int64(len(body))-1); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", key, err)
		}
	}
	for _, r := range *asked {
		if !strings.HasPrefix(r.URL.Path, "/there/") {
			t.Errorf("asked for %s: buckets belong into the path", r.URL.Path)
		}
		if a := r.Header.Get("Authorization"); !strings.Contains(a, "Credential=AKIDEXAMPLE/") || !strings.Contains(a, "/eu-west-3/s3/") {
			t.Errorf("authorization %q", a)
		}
	}
	if len(*asked) == 0 {
		t.Error("nobody was asked")
	}
}

func TestVersionsOfAnObject(t *testing.T) {
	c, backend, _ := server(t)
	ctx := context.Background()
	if err := backend.SetVersioningConfiguration("there", gofakes3.VersioningConfiguration{Status: gofakes3.VersioningEnabled}); err != nil {
		t.Fatal(err)
	}
	meta := map[string]string{"Last-Modified": "Mon, 2 Jan 2006 15:04:05 GMT"}
	first, err := backend.PutObject("there", "k", meta, strings.NewReader("old"), 3, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(ctx, "there", "k", []byte("new")); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(ctx, "there", "k", string(first.VersionID), 10); string(got) != "old" || err != nil {
		t.Errorf("%q, %v; want old", got, err)
	}
	if got, err := c.Get(ctx, "there", "k", "", 10); string(got) != "new" || err != nil {
		t.Errorf("%q, %v; want new", got, err)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	c, _, _ := server(t)
	none, err := New(Options{})
	if err != nil || none.Configured() || !c.Configured() {
		t.Fatal(err, none.Configured(), c.Configured())
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	down, err := New(Options{Endpoint: gone.URL})
	if err != nil {
		t.Fatal(err)
	}
	answers := func(status int, body string) *Client {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			if r.Method != http.MethodHead {
				_, _ = w.Write([]byte(body))
			}
		}))
		t.Cleanup(srv.Close)
		c, err := New(Options{Endpoint: srv.URL, AccessKey: "a", SecretKey: "b"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	denies := answers(403, `<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>`)
	fails := answers(500, `<Error><Code>InternalError</Code><Message>oops</Message></Error>`)
	for _, tt := range []struct {
		name           string
		c              *Client
		bucket         string
		get, put, look error
	}{
		{"no such object", c, "there", ErrNotFound, nil, nil},
		{"no such bucket", c, "nowhere", ErrNotFound, ErrNotFound, ErrNotFound},
		{"no bucket's name", c, "NO_NAME!", ErrInvalid, ErrInvalid, ErrInvalid},
		{"no endpoint", none, "there", ErrNotConfigured, ErrNotConfigured, ErrNotConfigured},
		{"nobody listens", down, "there", ErrUnavailable, ErrUnavailable, ErrUnavailable},
		{"refused", denies, "there", ErrDenied, ErrDenied, ErrDenied},
		{"out of order", fails, "there", ErrUnavailable, ErrUnavailable, ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := context.Background()
			if _, err := tt.c.Get(ctx, tt.bucket, "no-such", "", 10); !errors.Is(err, tt.get) {
				t.Errorf("get: %v, want %v", err, tt.get)
			}
			if err := tt.c.Put(ctx, tt.bucket, "k", []byte("x")); !errors.Is(err, tt.put) {
				t.Errorf("put: %v, want %v", err, tt.put)
			}
			if err := tt.c.Exists(ctx, tt.bucket); !errors.Is(err, tt.look) {
				t.Errorf("exists: %v, want %v", err, tt.look)
			}
		})
	}
	if !strings.Contains(ErrNotConfigured.Error(), "wasmill up --s3 URL") {
		t.Errorf("%v: does not say what to do", ErrNotConfigured)
	}
}

func TestEndpointsThatAreNoneAreRefused(t *testing.T) {
	for _, e := range []string{"localhost:9000", "ftp://h", "http://", "http://h/path", "http://h?x=1", "http://user:pass@h", ":"} {
		_, err := New(Options{Endpoint: e})
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", e, err)
		}
		if err != nil && strings.Contains(err.Error(), "pass@") {
			t.Errorf("%q: %v tells the password", e, err)
		}
	}
	for _, e := range []string{"http://localhost:9000", "https://s3.example.com/"} {
		if _, err := New(Options{Endpoint: e}); err != nil {
			t.Errorf("%q: %v", e, err)
		}
	}
}
