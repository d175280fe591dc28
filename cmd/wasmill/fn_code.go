package main

import (
	"os"

	"github.com/spf13/cobra"
)

func (c *cli) fnCode() *cobra.Command {
	var version, file string
	cmd := &cobra.Command{
		Use: "code NAME", Short: "Write a function's module into a file", Args: takes("NAME"), ValidArgsFunction: c.names(functionNames),
		Example: "  wasmill fn code enrich\n  wasmill fn code enrich --version 3 --output enrich-3.wasm",
		RunE: func(cmd *cobra.Command, args []string) error {
			module, err := c.server().Code(cmd.Context(), args[0], version)
			if err != nil {
				return err
			}
			if file == "" {
				file = args[0] + ".wasm"
			}
			out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			_, err = out.Write(module)
			if closed := out.Close(); err == nil {
				err = closed
			}
			if err != nil {
				os.Remove(file) // no half of it
				return err
			}
			c.say("wrote %s: %s", file, size(len(module)))
			return c.done(map[string]any{"file": file, "bytes": len(module)}, nil)
		},
	}
	cmd.Flags().StringVar(&version, "version", "", "a published `version`, or an alias (default $LATEST)")
	cmd.Flags().StringVarP(&file, "output", "o", "", "the `file` to write, which must not exist (default NAME.wasm)")
	return cmd
}
