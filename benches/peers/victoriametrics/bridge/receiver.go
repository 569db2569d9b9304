// Takes what vmagent writes remotely and makes rows of it.

package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/prompb"
	"github.com/golang/snappy"
)

// outputs of vmagent's configuration in the order of their columns.
var outputs = []string{"count_samples", "avg", "min", "max"}

// window is one row of the answers.
type window struct {
	endMs       int64
	measurement string
	host        string
}

// receiver collects what vmagent writes.
type receiver struct {
	url  string
	lock sync.Mutex
	rows map[window]*[4]float64
}

func listen() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("could not listen: %w", err)
	}
	r := &receiver{url: fmt.Sprintf("http://%s/", listener.Addr()), rows: map[window]*[4]float64{}}
	go http.Serve(listener, r)
	return r, nil
}

// ServeHTTP takes one request of Prometheus' remote write protocol.
func (r *receiver) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	if err := r.take(request.Body); err != nil {
		log.Print(err)
		http.Error(answer, err.Error(), http.StatusBadRequest)
		return
	}
	answer.WriteHeader(http.StatusNoContent)
}

func (r *receiver) take(body io.Reader) error {
	packed, err := io.ReadAll(body)
	if err != nil {
		return fmt.Errorf("could not read a request of vmagent: %w", err)
	}
	plain, err := snappy.Decode(nil, packed)
	if err != nil {
		return fmt.Errorf("could not unpack a request of vmagent: %w", err)
	}
	var request prompb.WriteRequest
	if err := request.UnmarshalProtobuf(plain); err != nil {
		return fmt.Errorf("could not parse a request of vmagent: %w", err)
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	for _, series := range request.Timeseries {
		r.add(series)
	}
	return nil
}

// add puts a series such as `cpu_v:10s_by_host_avg` into its column.
func (r *receiver) add(series prompb.TimeSeries) {
	var name, host string
	for _, label := range series.Labels {
		switch label.Name {
		case "__name__":
			name = label.Value
		case "host":
			host = label.Value
		}
	}
	measurement, _, found := strings.Cut(name, "_v:")
	if !found {
		return
	}
	for column, output := range outputs {
		if !strings.HasSuffix(name, "_"+output) {
			continue
		}
		for _, sample := range series.Samples {
			key := window{sample.Timestamp, strings.Clone(measurement), strings.Clone(host)}
			row := r.rows[key]
			if row == nil {
				row = new([4]float64)
				r.rows[key] = row
			}
			row[column] = sample.Value
		}
	}
}

// write writes all rows and returns the sum of their counts.
func (r *receiver) write(path string) (float64, error) {
	r.lock.Lock()
	defer r.lock.Unlock()
	file, err := os.Create(path)
	if err != nil {
		return 0, fmt.Errorf("could not write the answers: %w", err)
	}
	defer file.Close()
	out := bufio.NewWriterSize(file, 1<<16)
	total := 0.0
	for key, row := range r.rows {
		fmt.Fprintf(out, "%d,%s,%s,%.0f,%v,%v,%v\n", key.endMs, key.measurement, key.host, row[0], row[1], row[2], row[3])
		total += row[0]
	}
	if err := out.Flush(); err != nil {
		return 0, fmt.Errorf("could not write the answers: %w", err)
	}
	return total, nil
}
