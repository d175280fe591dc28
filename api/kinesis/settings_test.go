package kinesis

import (
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/wasmill/wasmill/stream"
)

func TestClientChangesSettings(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	d := e.create("s", 1)
	arn := aws.String(d.ARN())
	summary := func() *types.StreamDescriptionSummary {
		t.Helper()
		out, err := e.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamARN: arn})
		e.check(err)
		return out.StreamDescriptionSummary
	}
	for _, in := range []*sdk.StartStreamEncryptionInput{{StreamName: &d.Name}, {StreamARN: arn}, {StreamId: &d.ID}} {
		in.EncryptionType, in.KeyId = types.EncryptionTypeKms, aws.String("alias/aws/kinesis")
		_, err := e.StartStreamEncryption(ctx, in)
		e.check(err)
	}
	if s := summary(); s.EncryptionType != types.EncryptionTypeKms || aws.ToString(s.KeyId) != "alias/aws/kinesis" {
		t.Errorf("encryption = %s %v", s.EncryptionType, s.KeyId)
	}
	for _, in := range []*sdk.StopStreamEncryptionInput{{StreamName: &d.Name}, {StreamARN: arn}, {StreamId: &d.ID}} {
		in.EncryptionType, in.KeyId = types.EncryptionTypeKms, aws.String("alias/aws/kinesis")
		_, err := e.StopStreamEncryption(ctx, in)
		e.check(err)
	}
	if s := summary(); s.EncryptionType != types.EncryptionTypeNone || s.KeyId != nil {
		t.Errorf("encryption = %s %v", s.EncryptionType, s.KeyId)
	}

	on, err := e.EnableEnhancedMonitoring(ctx, &sdk.EnableEnhancedMonitoringInput{StreamName: &d.Name, ShardLevelMetrics: []types.MetricsName{"OutgoingBytes", "IncomingBytes"}})
	e.check(err)
	if len(on.CurrentShardLevelMetrics) != 0 || !slices.Equal(on.DesiredShardLevelMetrics, []types.MetricsName{"IncomingBytes", "OutgoingBytes"}) || *on.StreamARN != *arn || *on.StreamName != d.Name {
		t.Errorf("enabled two: %+v", on)
	}
	on, err = e.EnableEnhancedMonitoring(ctx, &sdk.EnableEnhancedMonitoringInput{StreamARN: arn, StreamId: &d.ID, ShardLevelMetrics: []types.MetricsName{types.MetricsNameAll}})
	e.check(err)
	if len(on.CurrentShardLevelMetrics) != 2 || len(on.DesiredShardLevelMetrics) != 7 {
		t.Errorf("enabled all: %+v", on)
	}
	off, err := e.DisableEnhancedMonitoring(ctx, &sdk.DisableEnhancedMonitoringInput{StreamName: &d.Name, ShardLevelMetrics: []types.MetricsName{"IncomingBytes"}})
	e.check(err)
	if len(off.CurrentShardLevelMetrics) != 7 || len(off.DesiredShardLevelMetrics) != 6 || len(summary().EnhancedMonitoring[0].ShardLevelMetrics) != 6 {
		t.Errorf("disabled one: %+v", off)
	}
	_, err = e.DisableEnhancedMonitoring(ctx, &sdk.DisableEnhancedMonitoringInput{StreamARN: arn, StreamId: &d.ID, ShardLevelMetrics: []types.MetricsName{types.MetricsNameAll}})
	e.check(err)
	if m := summary().EnhancedMonitoring; len(m) != 1 || len(m[0].ShardLevelMetrics) != 0 {
		t.Errorf("disabled all: %+v", m)
	}

	for i, in := range []*sdk.UpdateMaxRecordSizeInput{{StreamARN: arn}, {StreamId: &d.ID}} {
		in.MaxRecordSizeInKiB = aws.Int32(int32(4096 + i))
		_, err := e.UpdateMaxRecordSize(ctx, in)
		e.check(err)
		if got := *summary().MaxRecordSizeInKiB; got != *in.MaxRecordSizeInKiB {
			t.Errorf("record size = %d KiB, want %d", got, *in.MaxRecordSizeInKiB)
		}
	}
	for _, mode := range []types.StreamMode{types.StreamModeOnDemand, types.StreamModeProvisioned} {
		_, err = e.UpdateStreamMode(ctx, &sdk.UpdateStreamModeInput{StreamARN: arn, StreamId: &d.ID, StreamModeDetails: &types.StreamModeDetails{StreamMode: mode}})
		e.check(err)
		if got := summary().StreamModeDetails.StreamMode; got != mode {
			t.Errorf("mode = %s, want %s", got, mode)
		}
	}
}

func TestWarmThroughputGivesShardsToCommittedAccounts(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	status := func(want types.MinimumThroughputBillingCommitmentOutputStatus) *types.MinimumThroughputBillingCommitmentOutput {
		t.Helper()
		out, err := e.DescribeAccountSettings(ctx, &sdk.DescribeAccountSettingsInput{})
		e.check(err)
		c := out.MinimumThroughputBillingCommitment
		if c.Status != want {
			t.Errorf("commitment is %s, want %s", c.Status, want)
		}
		return c
	}
	commit := func(to types.MinimumThroughputBillingCommitmentInputStatus) {
		t.Helper()
		_, err := e.UpdateAccountSettings(ctx, &sdk.UpdateAccountSettingsInput{MinimumThroughputBillingCommitment: &types.MinimumThroughputBillingCommitmentInput{Status: to}})
		e.check(err)
	}
	status("DISABLED")
	commit("ENABLED")
	if c := status("ENABLED"); c.EarliestAllowedEndAt.Sub(*c.StartedAt) != 24*time.Hour || c.EndedAt != nil {
		t.Errorf("commitment = %+v", c)
	}
	_, err := e.CreateStream(ctx, &sdk.CreateStreamInput{StreamName: aws.String("s"), WarmThroughputMiBps: aws.Int32(6)})
	e.check(err)
	check := func(warm, shards int32) {
		t.Helper()
		out, err := e.DescribeStreamSummary(ctx, &sdk.DescribeStreamSummaryInput{StreamName: aws.String("s")})
		e.check(err)
		d := out.StreamDescriptionSummary
		if *d.OpenShardCount != shards || d.WarmThroughput == nil || *d.WarmThroughput.TargetMiBps != warm || *d.WarmThroughput.CurrentMiBps != warm {
			t.Errorf("%d shards, warm throughput %+v; want %d and %d", *d.OpenShardCount, d.WarmThroughput, shards, warm)
		}
	}
	check(6, 6)
	d, err := e.store.Describe(ctx, stream.Local("s"))
	e.check(err)
	for i, in := range []*sdk.UpdateStreamWarmThroughputInput{{StreamName: &d.Name}, {StreamARN: aws.String(d.ARN())}, {StreamId: &d.ID}} {
		in.WarmThroughputMiBps = aws.Int32(int32(8 + i))
		out, err := e.UpdateStreamWarmThroughput(ctx, in)
		e.check(err)
		if *out.WarmThroughput.TargetMiBps != *in.WarmThroughputMiBps || *out.StreamARN != d.ARN() || *out.StreamName != d.Name {
			t.Errorf("answer = %+v", out)
		}
		check(int32(8+i), int32(8+i))
	}
	_, err = e.UpdateStreamMode(ctx, &sdk.UpdateStreamModeInput{StreamARN: aws.String(d.ARN()), WarmThroughputMiBps: aws.Int32(7), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}})
	e.check(err)
	check(7, 10)
	_, err = e.UpdateStreamMode(ctx, &sdk.UpdateStreamModeInput{StreamARN: aws.String(d.ARN()), StreamModeDetails: &types.StreamModeDetails{StreamMode: types.StreamModeOnDemand}})
	e.check(err)
	check(7, 10)
	commit("DISABLED")
	if c := status("ENABLED_UNTIL_EARLIEST_ALLOWED_END"); !c.EndedAt.Equal(*c.EarliestAllowedEndAt) {
		t.Errorf("commitment = %+v", c)
	}
}

func TestClientSeesLimits(t *testing.T) {
	e, ctx := emulate(t, 0, nil), t.Context()
	e.create("a", 3)
	_, err := e.CreateStream(ctx, &sdk.CreateStreamInput{StreamName: aws.String("b")})
	e.check(err)
	out, err := e.DescribeLimits(ctx, &sdk.DescribeLimitsInput{})
	e.check(err)
	if *out.OpenShardCount != 7 || *out.OnDemandStreamCount != 1 || *out.ShardLimit != 20000 || *out.OnDemandStreamCountLimit != 50 {
		t.Errorf("limits = %+v", out)
	}
}
