package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// start measures the binary itself: how long until it answers, and how much
// memory it takes when idle, without and with a thousand shards.
func start(ctx context.Context, h *host) ([]result, error) {
	bin := filepath.Join(h.dir, "wasmill")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./cmd/wasmill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w\n%s", err, out)
	}
	var empty, rss []float64
	for range pairs {
		ready, idle, err := h.launch(ctx, bin, h.sub("empty"), nil)
		if err != nil {
			return nil, err
		}
		empty, rss = append(empty, ready), append(rss, idle)
	}
	dir := h.sub("thousand")
	if _, _, err := h.launch(ctx, bin, dir, func(url string) error {
		for i := range 10 {
			cmd := exec.CommandContext(ctx, bin, "--endpoint", url, "stream", "create", fmt.Sprint("s", i), "--shards", "100")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return nil
	}); err != nil {
		return nil, err
	}
	var many, manyRSS []float64
	for range pairs {
		ready, idle, err := h.launch(ctx, bin, dir, nil)
		if err != nil {
			return nil, err
		}
		many, manyRSS = append(many, ready), append(manyRSS, idle)
	}
	return []result{
		{Bench: "start.empty", Value: round(median(empty)), Unit: "ms", Goal: "<= 100"},
		{Bench: "start.empty.rss", Value: round(median(rss)), Unit: "MB", Goal: "<= 40"},
		{Bench: "start.1000shards", Value: round(median(many)), Unit: "ms", Goal: "<= 3000"},
		{Bench: "start.1000shards.rss", Value: round(median(manyRSS)), Unit: "MB", Goal: "<= 150"},
	}, nil
}

var address = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// launch runs the binary on dir until it is healthy, lets it come to rest, and
// gives the milliseconds to readiness and its resident megabytes.
func (h *host) launch(ctx context.Context, bin, dir string, then func(url string) error) (ready, rss float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "up", "--data", dir, "--listen", "127.0.0.1:0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	r, w, err := os.Pipe()
	if err != nil {
		return 0, 0, err
	}
	cmd.Stdout, cmd.Stderr = w, w
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	_ = w.Close()
	defer func() {
		cancel()
		_ = cmd.Wait()
		_ = r.Close()
	}()
	lines := bufio.NewScanner(r)
	var url string
	for url == "" && lines.Scan() {
		url = address.FindString(lines.Text())
	}
	go func() {
		for lines.Scan() { // keep the pipe from filling
		}
	}()
	if url == "" {
		return 0, 0, errors.New("the server printed no endpoint")
	}
	for {
		if res, err := http.Get(url + "/_wasmill/health"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		if ctx.Err() != nil {
			return 0, 0, ctx.Err()
		}
		time.Sleep(time.Millisecond)
	}
	ready = float64(time.Since(began)) / float64(time.Millisecond)
	if then != nil {
		if err := then(url); err != nil {
			return 0, 0, err
		}
	}
	time.Sleep(2 * time.Second)
	rss, err = resident(cmd.Process.Pid)
	return ready, rss, err
}

// resident is a process's RSS in MB, where the system tells it.
func resident(pid int) (float64, error) {
	if runtime.GOOS != "linux" {
		return 0, nil
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if rest, ok := strings.CutPrefix(string(line), "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("no VmRSS")
}
