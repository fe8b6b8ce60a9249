//! Tests of the HTTP interface as a whole, with its routes, headers, OpenAPI document and
//! operator's page.

mod cors;
mod openapi;
mod page;
mod routes;
mod standards;
