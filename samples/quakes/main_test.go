package main

import (
	"bufio"
	"context"
	"os"
	"testing"

	"github.com/aws/aws-lambda-go/events"
)

func event(data ...string) (e events.KinesisEvent) {
	for _, d := range data {
		e.Records = append(e.Records, events.KinesisEventRecord{Kinesis: events.KinesisRecord{Data: []byte(d)}})
	}
	return e
}

func TestHandle(t *testing.T) {
	tests := []struct {
		name, data string
		fails      bool
	}{
		{"a quake", `{"id":"us1","properties":{"mag":5.3,"place":"Indonesia","net":"us"}}`, false},
		{"magnitude zero", `{"id":"us2","properties":{"mag":0}}`, false},
		{"no magnitude", `{"id":"us3","properties":{"mag":null}}`, false},
		{"a magnitude below zero", `{"id":"us4","properties":{"mag":-0.4}}`, true},
		{"no quake", `quake`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := handle(context.Background(), event(tt.data)); (err != nil) != tt.fails {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestHandleAWeek(t *testing.T) {
	f, err := os.Open("earthquakes.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	good, bad, alerts := 0, 0, 0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		out, err := handle(context.Background(), event(lines.Text()))
		if err != nil {
			bad++
			continue
		}
		good++
		for _, e := range out.Emit {
			if e.Stream == "alerts" {
				alerts++
			}
		}
	}
	if lines.Err() != nil || good != 1663 || bad != 44 || alerts != 297 {
		t.Errorf("%d good, %d bad, %d alerts, %v", good, bad, alerts, lines.Err())
	}
}
