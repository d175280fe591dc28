// Reach is a Lambda function that reaches out, in all the ways that functions do:
// over HTTP and HTTPS, to AWS, and to a database. Nothing in it knows of wasmill.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/jackc/pgx/v5"
)

type event struct{ Do, To, Body string }

func handle(ctx context.Context, e event) (string, error) {
	switch e.Do {
	case "get":
		return fetch(ctx, http.MethodGet, e.To, "")
	case "bulk":
		return fetch(ctx, http.MethodPost, e.To+"/_bulk", e.Body)
	case "many":
		return many(ctx, e.To)
	case "kinesis":
		return put(ctx, e.To, e.Body)
	case "postgres":
		return query(ctx, e.To)
	case "dial":
		return dial(ctx, e.To)
	case "dial plainly":
		_, err := net.Dial("tcp", e.To)
		return "", err
	case "hang":
		return hang(e.To)
	case "resolve":
		addrs, err := net.DefaultResolver.LookupHost(ctx, e.To)
		return strings.Join(addrs, " "), err
	case "address": // resolves first, as drivers do
		return address(ctx, e.To)
	case "txt":
		_, err := net.LookupTXT(e.To)
		return "", err
	case "udp":
		_, err := net.Dial("udp", e.To)
		return "", err
	case "listen":
		return listen()
	}
	return "", errors.New("do what?")
}

func fetch(ctx context.Context, method, url, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, b), err
}

// many has several requests under way at once.
func many(ctx context.Context, url string) (string, error) {
	answers := make(chan error)
	const n = 8
	for i := range n {
		go func() {
			body := strings.Repeat(fmt.Sprint(i), 300_000)
			got, err := fetch(ctx, http.MethodPost, url, body)
			if err == nil && got != "200 "+body {
				err = fmt.Errorf("got %d bytes back", len(got))
			}
			answers <- err
		}()
	}
	var errs []error
	for range n {
		errs = append(errs, <-answers)
	}
	return "all", errors.Join(errs...)
}

func put(ctx context.Context, stream, data string) (string, error) {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return "", err
	}
	out, err := kinesis.NewFromConfig(cfg).PutRecord(ctx, &kinesis.PutRecordInput{
		StreamName: aws.String(stream), PartitionKey: aws.String("key"), Data: []byte(data)})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.SequenceNumber), nil
}

func query(ctx context.Context, url string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, "CREATE TEMPORARY TABLE t (id int, word text)"); err != nil {
		return "", err
	}
	rows := make([][]any, 1000)
	for i := range rows {
		rows[i] = []any{i, fmt.Sprint("word ", i)}
	}
	if _, err := conn.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "word"}, pgx.CopyFromRows(rows)); err != nil {
		return "", err
	}
	var n int
	var word string
	err = conn.QueryRow(ctx, "SELECT count(*), max(word) FROM t WHERE id < $1", 500).Scan(&n, &word)
	return fmt.Sprint(n, " ", word), err
}

func dial(ctx context.Context, to string) (string, error) {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", to)
	if err != nil {
		var op *net.OpError
		return "", fmt.Errorf("%w (op %t, timeout %t)", err, errors.As(err, &op), errors.Is(err, context.DeadlineExceeded) || isTimeout(err))
	}
	defer conn.Close()
	return conn.RemoteAddr().String(), nil
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// hang reads from a peer that says nothing: first with a deadline, then without.
func hang(to string) (string, error) {
	conn, err := net.Dial("tcp", to)
	if err != nil {
		return "", err
	}
	began := time.Now()
	conn.SetReadDeadline(began.Add(50 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !isTimeout(err) || time.Since(began) < 50*time.Millisecond {
		return "", fmt.Errorf("after %v: %v", time.Since(began), err)
	}
	fmt.Println("the deadline was kept")
	conn.SetReadDeadline(time.Time{})
	_, err = conn.Read(make([]byte, 1))
	return "", err
}

func address(ctx context.Context, to string) (string, error) {
	host, port, err := net.SplitHostPort(to)
	if err != nil {
		return "", err
	}
	addrs, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return "", err
	}
	return dial(ctx, net.JoinHostPort(addrs[0].String(), port))
}

// listen is the network within the program, which WASI programs always had.
func listen() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, bytes.NewReader([]byte("from within")))
			c.Close()
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func main() { lambda.Start(handle) }
