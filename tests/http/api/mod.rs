//! Tests of the HTTP interface as a whole: routes, headers, OpenAPI, the operator's page.

mod cors;
mod openapi;
mod page;
mod routes;
mod standards;
