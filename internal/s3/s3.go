// Package s3 reads and writes objects of an S3 endpoint: any that speaks the
// protocol, addressed by path.
//
// It is a thin layer over minio-go: it knows three operations, gives errors that
// callers can tell apart, and retries little, since its callers do so by their own
// rules.
package s3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"
)

var (
	// ErrNotFound means that the bucket, the object, or that version of it is not there.
	ErrNotFound = errors.New("s3: not found")
	// ErrUnavailable means that the endpoint did not answer, or not as it should. Try again.
	ErrUnavailable = errors.New("s3: unavailable")
	// ErrDenied means that the endpoint refuses the credentials, or what they ask for.
	ErrDenied = errors.New("s3: denied")
	// ErrTooLarge means that an object is larger than the caller wants it.
	ErrTooLarge = errors.New("s3: object too large")
	// ErrInvalid means that no endpoint could take the call: a bucket's or an object's
	// name is none.
	ErrInvalid = errors.New("s3: invalid")
	// ErrNotConfigured means that this server knows no endpoint.
	ErrNotConfigured = errors.New("s3: no endpoint is configured: start the server with `wasmill up --s3 URL`")
)

// Options shape a [Client]. The zero value is one that knows no endpoint.
type Options struct {
	// Endpoint is http:// or https://, a host, and a port unless it is the scheme's.
	// Empty: every call ends with [ErrNotConfigured].
	Endpoint string
	// Region is what requests are signed for. Defaults to us-east-1.
	Region string
	// AccessKey, SecretKey and SessionToken are the credentials. Without AccessKey
	// requests are not signed.
	AccessKey, SecretKey, SessionToken string
}

// Client is an endpoint. Safe for concurrent use.
type Client struct {
	api *minio.Client // nil: not configured
	url string
}

const (
	// attempts is how often a request is sent that fails for want of an answer.
	attempts = 2
	// dialing and answering bound what an endpoint that is not there costs.
	dialing   = 5 * time.Second
	answering = 30 * time.Second
)

// New makes a client of the endpoint. It connects to nothing yet.
func New(o Options) (*Client, error) {
	if o.Endpoint == "" {
		return &Client{}, nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("%w: endpoint %q: want http:// or https://, a host and perhaps a port, nothing else", ErrInvalid, redacted(o.Endpoint))
	}
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialing}).DialContext,
		TLSHandshakeTimeout:   dialing,
		ResponseHeaderTimeout: answering,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true, // an object is what its bytes are
	}
	api, err := minio.New(u.Host, &minio.Options{
		Creds:        credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken),
		Secure:       u.Scheme == "https",
		Transport:    transport,
		Region:       cmp.Or(o.Region, "us-east-1"),
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   attempts,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: endpoint %q: %w", ErrInvalid, o.Endpoint, err)
	}
	return &Client{api: api, url: u.Scheme + "://" + u.Host}, nil
}

// redacted leaves credentials out of an endpoint that has some.
func redacted(endpoint string) string {
	if i := strings.LastIndex(endpoint, "@"); i >= 0 {
		return "…" + endpoint[i:]
	}
	return endpoint
}

// Configured says whether there is an endpoint.
func (c *Client) Configured() bool { return c.api != nil }

// check refuses what need not be asked.
func (c *Client) check(bucket string) error {
	if c.api == nil {
		return ErrNotConfigured
	}
	if err := s3utils.CheckValidBucketName(bucket); err != nil {
		return fmt.Errorf("%w: bucket %q: %w", ErrInvalid, bucket, err)
	}
	return nil
}

// Get reads an object of limit bytes at most; version is empty for the newest one.
func (c *Client) Get(ctx context.Context, bucket, key, version string, limit int64) ([]byte, error) {
	if err := c.check(bucket); err != nil {
		return nil, err
	}
	what := "object " + key + " of bucket " + bucket
	o, err := c.api.GetObject(ctx, bucket, key, minio.GetObjectOptions{VersionID: version})
	if err != nil {
		return nil, c.wrap(what, err)
	}
	defer func() { _ = o.Close() }()
	data, err := io.ReadAll(io.LimitReader(o, limit+1))
	if err != nil {
		return nil, c.wrap(what, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%w: %s: want %d bytes at most", ErrTooLarge, what, limit)
	}
	return data, nil
}

// Put writes an object of JSON, in place of one of that key.
func (c *Client) Put(ctx context.Context, bucket, key string, body []byte) error {
	if err := c.check(bucket); err != nil {
		return err
	}
	_, err := c.api.PutObject(ctx, bucket, key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{
		ContentType: "application/json", DisableMultipart: true,
	})
	if err != nil {
		return c.wrap("object "+key+" of bucket "+bucket, err)
	}
	return nil
}

// Exists fails with [ErrNotFound] if the bucket is not there.
func (c *Client) Exists(ctx context.Context, bucket string) error {
	if err := c.check(bucket); err != nil {
		return err
	}
	there, err := c.api.BucketExists(ctx, bucket)
	if err != nil {
		return c.wrap("bucket "+bucket, err)
	}
	if !there {
		return fmt.Errorf("%w: bucket %s at %s", ErrNotFound, bucket, c.url)
	}
	return nil
}

// wrap says what an error means.
func (c *Client) wrap(what string, err error) error {
	kind := ErrUnavailable
	answer := minio.ToErrorResponse(err)
	switch answer.Code {
	case minio.NoSuchBucket, minio.NoSuchKey, minio.NoSuchVersion:
		kind = ErrNotFound
	case minio.AccessDenied, minio.InvalidAccessKeyID, minio.SignatureDoesNotMatch, "ExpiredToken", "InvalidToken":
		kind = ErrDenied
	case minio.InvalidBucketName, minio.XMinioInvalidObjectName, minio.InvalidArgument:
		kind = ErrInvalid
	default:
		switch answer.StatusCode {
		case http.StatusNotFound:
			kind = ErrNotFound
		case http.StatusForbidden, http.StatusUnauthorized:
			kind = ErrDenied
		}
	}
	return fmt.Errorf("%w: %s at %s: %w", kind, what, c.url, err)
}
