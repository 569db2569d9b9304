// Command influxd is an InfluxDB 2 server without its web pages, built from
// the published Go modules for tidewatch's service tests. Nothing here is
// shipped: the tests only need a real server that answers the real protocol.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/influxdata/influxdb/v2"
	"github.com/influxdata/influxdb/v2/cmd/influxd/launcher"
	"github.com/spf13/viper"

	// The storage engine and its index register themselves when imported.
	_ "github.com/influxdata/influxdb/v2/tsdb/engine/tsm1"
	_ "github.com/influxdata/influxdb/v2/tsdb/index/tsi1"
)

func main() {
	influxdb.SetBuildInfo("v2.9.1", "test", "1970-01-01T00:00:00Z")
	command, err := launcher.NewInfluxdCommand(context.Background(), viper.New())
	if err == nil {
		err = command.Execute()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
