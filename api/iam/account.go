package iam

import (
	"context"
	"strings"
	"time"

	"github.com/wasmill/wasmill/api/wire"
)

func (s *service) accountOps() []*wire.Operation {
	return []*wire.Operation{
		{Name: "GetUser", Do: s.getUser, Input: wire.Structure(may("UserName", wire.String(1, 128, `[\w+=,.@-]+`)))},
		{Name: "ListAccountAliases", Do: s.listAliases, Input: wire.Structure(marker, maxItems)},
	}
}

// getUser knows the account's root only: there are no users.
func (s *service) getUser(_ context.Context, c *wire.Call) (any, error) {
	if name := c.In.String("UserName"); name != "" {
		return nil, noSuch("The user with name %s cannot be found.", name)
	}
	type view struct {
		Path    string    `json:"Path"`
		Name    string    `json:"UserName"`
		ID      string    `json:"UserId"`
		ARN     string    `json:"Arn"`
		Created wire.Time `json:"CreateDate"`
	}
	return struct {
		User view `json:"User"`
	}{view{"/", "root", c.Account, rootARN(c.Account), wire.Time(time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC))}}, nil
}

func rootARN(account string) string { return "arn:aws:iam::" + account + ":root" }

func (s *service) listAliases(_ context.Context, c *wire.Call) (any, error) {
	none, more, err := page(c, []string{}, strings.Clone)
	return struct {
		AccountAliases []string `json:"AccountAliases"`
		listing
	}{none, more}, err
}
