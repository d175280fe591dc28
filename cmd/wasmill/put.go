package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func (c *cli) streamPut() *cobra.Command {
	p := putter{c: c}
	var data, file, key, field string
	raw := false
	cmd := &cobra.Command{
		Use: "put NAME", Short: "Put records into a stream", Args: takes("NAME"), ValidArgsFunction: c.names(streamNames),
		Long: help("Puts one record, --data, or every line of a file or of standard input as a record of its own.",
			"Empty lines are passed over; with --raw the whole of it is one record. Records go in batches of 500, several at once; records of one key",
			"keep their order. A line that cannot be a record is refused, and the others are put.",
			"",
			"Cut short, it waits for the answers of the calls under way and counts exactly: what was put, what was",
			"refused (not stored), what is unknown (sent, and no answer came: stored or not), and what was read and",
			"never attempted. With --json these are error.details.put, with the first 100 line numbers of each.",
			"",
			"The partition key is found by --key '$.path' in each record's JSON, or by --key-field NAME, a field of",
			"the top level by its literal name. --key without a $ is the key of all records. Without any of these",
			"each record gets a random key."),
		Example: help("  wasmill stream put orders --data '{\"id\":1}' --key 1",
			"  wasmill stream put orders --file orders.ndjson --key '$.customer.id'",
			"  producer | wasmill stream put orders --key-field customer"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.stream = args[0]
			if p.parallel < 1 || p.parallel > 64 {
				return usageError{fmt.Errorf("--parallel %d: want 1 to 64", p.parallel)}
			}
			if key != "" && field != "" {
				return usageError{errors.New("--key and --key-field: want one of them")}
			}
			switch {
			case field != "":
				p.path = keyPath{text: field, steps: []any{field}}
			case key != "" && key[0] == '$':
				var err error
				if p.path, err = parsePath(key); err != nil {
					return usageError{fmt.Errorf("--key %w", err)}
				}
			default:
				p.key = key
			}
			if cmd.Flags().Changed("data") {
				if file != "" {
					return usageError{errors.New("--data and --file: want one of them")}
				}
				return p.one(cmd.Context(), []byte(data))
			}
			if raw {
				record, err := readRecord(c, file)
				if err != nil {
					return err
				}
				return p.one(cmd.Context(), record)
			}
			in, total := c.in, int64(0)
			if file != "" && file != "-" {
				f, err := os.Open(file)
				if err != nil {
					return err
				}
				defer f.Close()
				if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
					total = info.Size()
				}
				in = f
			} else if c.inTTY && file == "" {
				return usage(cmd, "no records: want --data, --file or something on standard input")
			}
			return p.all(cmd.Context(), in, total)
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "one record's `data`")
	f.StringVarP(&file, "file", "f", "", "a `file` of one record a line; - is standard input, the default")
	f.BoolVar(&raw, "raw", false, "the file, or standard input, is one record, byte for byte")
	f.StringVar(&key, "key", "", "partition `key`: $.path into each record, or one for all")
	f.StringVar(&field, "key-field", "", "partition key: that `field` of each record, by its literal name")
	f.StringVar(&p.hashKey, "hash-key", "", "explicit hash `key` of all records, 0 to 2^128-1")
	f.IntVar(&p.parallel, "parallel", 4, "`calls` at once, 1 to 64")
	return cmd
}

// readRecord reads a file, or standard input, whole.
func readRecord(c *cli, file string) ([]byte, error) {
	if file == "" || file == "-" {
		return readAll(c.in)
	}
	return os.ReadFile(file)
}
